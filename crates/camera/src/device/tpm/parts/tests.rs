use serde_json::json;

use super::*;
use crate::device::element::{SealedKeys, SealedObject};
use crate::device::testing::device_config;

/// A configuration with so many tables and their distinct keys.
fn config(tables: u16, device_key: bool) -> DeviceConfig {
    let mut value = device_config(serde_json::Value::Null);
    let key = |number: u16| base64::encode([u8::try_from(number % 251).unwrap(); 32]);
    if tables > 0 {
        let grants = (0..tables).map(|n| json!({"table_id": 42 + n, "encryption_key": key(n + 1)}));
        value["tables"] = grants.collect();
        value["encryption_key"] = key(1).into();
    }
    if !device_key {
        value.as_object_mut().unwrap().remove("device_key");
    }
    serde_json::from_value(value).unwrap()
}

/// Its sealed form, with objects that nothing opens.
fn sealed(config: &DeviceConfig, objects: usize) -> SealedConfig {
    let object = SealedObject { public: String::new(), private: String::new() };
    SealedConfig {
        device_serial: config.device_serial.clone(),
        table_id: config.table_id,
        aggregator_url: config.aggregator_url.clone(),
        manufacturer_cert: config.manufacturer_cert.clone(),
        tables: tables(config),
        network: config.network.clone(),
        device_certificate: config.device_certificate.clone(),
        sealed: SealedKeys {
            element: "tpm".to_owned(),
            version: 1,
            storage_key: String::new(),
            endorsement_key: String::new(),
            counter: None,
            device_key: config.device_key.is_some(),
            objects: vec![object; objects],
        },
    }
}

#[test]
fn keys_come_back_in_their_places_however_many_there_are() {
    for tables in [1, 2, 3, 4, 7, 64] {
        for device_key in [true, false] {
            let config = config(tables, device_key);
            let parts = split(&config).unwrap();
            assert!(parts.iter().all(|part| part.len() <= 128));
            let sealed = sealed(&config, parts.len());
            check(&sealed).unwrap();
            let back = join(sealed, &parts).unwrap();
            assert_eq!(serde_json::to_value(back).unwrap(), serde_json::to_value(config).unwrap());
        }
    }
    // What a camera usually has fits into one object.
    assert_eq!(split(&config(3, true)).unwrap().len(), 1);
}

#[test]
fn configuration_of_the_seeds_five_fields_keeps_its_one_table() {
    let config = config(0, false);
    let back = join(sealed(&config, 1), &split(&config).unwrap()).unwrap();
    assert_eq!(back.encryption_key, config.encryption_key);
    assert_eq!(back.tables.len(), 1);
}

#[test]
fn missing_or_surplus_keys_and_foreign_forms_are_refused() {
    let config = config(3, true);
    let parts = split(&config).unwrap();
    assert!(join(sealed(&config, 1), &[]).is_err());
    assert!(join(sealed(&config, 1), &[parts.clone(), parts.clone()].concat()).is_err());
    let short = Zeroizing::new(parts[0][..127].to_vec());
    assert!(join(sealed(&config, 1), &[short]).is_err());
    let refused = |change: &dyn Fn(&mut SealedConfig)| {
        let mut sealed = sealed(&config, 1);
        change(&mut sealed);
        check(&sealed).unwrap_err();
    };
    refused(&|sealed| sealed.sealed.element = "hsm".to_owned());
    refused(&|sealed| sealed.sealed.version = 2);
    refused(&|sealed| sealed.sealed.objects.clear());
    refused(&|sealed| sealed.tables.clear());
    refused(&|sealed| sealed.tables = vec![TableId::new(7).unwrap(); 3]);
    refused(&|sealed| sealed.tables = vec![sealed.table_id; 65]);
}

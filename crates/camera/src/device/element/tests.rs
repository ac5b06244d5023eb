use serde_json::json;

use super::super::testing::{AUTHORITY, device_config};
use super::*;

fn sealed() -> serde_json::Value {
    json!({
        "device_serial": "PI_CAMERA_001", "table_id": 42, "aggregator_url": "http://127.0.0.1:8545",
        "manufacturer_cert": {"authority_id": AUTHORITY, "validation_endpoint": "http://127.0.0.1:8001/validate"},
        "tables": [42, 7],
        "sealed": {"element": "tpm", "version": 1, "storage_key": "000b00", "endorsement_key": "000b01",
                   "counter": "0180b100", "device_key": true, "objects": [{"public": "AAA=", "private": "AAAA"}]}
    })
}

fn stored(value: &serde_json::Value) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device_config.json");
    birthmark_service::secret_file::create(&path, value.to_string().as_bytes()).unwrap();
    (folder, path)
}

#[test]
fn both_forms_are_read_back_as_they_were_written() {
    for (value, kind) in [(device_config(serde_json::Value::Null), ElementKind::Software), (sealed(), ElementKind::Tpm)]
    {
        let (_folder, path) = stored(&value);
        let read = Stored::read(&path).unwrap();
        assert_eq!((read.element(), read.serial().as_str()), (kind, "PI_CAMERA_001"));
        assert_eq!(read.aggregator_url(), "http://127.0.0.1:8545");
        let written: serde_json::Value = serde_json::from_slice(&read.to_json().unwrap()).unwrap();
        assert_eq!(written, value);
    }
}

#[test]
fn a_sealed_form_without_a_part_is_refused_and_never_taken_for_the_other() {
    for field in ["element", "version", "storage_key", "endorsement_key", "device_key", "objects"] {
        let mut value = sealed();
        value["sealed"].as_object_mut().unwrap().remove(field);
        let (_folder, path) = stored(&value);
        assert!(Stored::read(&path).is_err(), "without {field}");
    }
    let mut both = device_config(serde_json::Value::Null);
    both["sealed"] = sealed()["sealed"].clone();
    both.as_object_mut().unwrap().remove("tables");
    let (_folder, path) = stored(&both);
    assert!(Stored::read(&path).is_err(), "keys beside sealed keys");
}

#[test]
fn element_is_the_one_of_the_configuration_or_an_error_that_names_it() {
    let (_folder, path) = stored(&sealed());
    let read = Stored::read(&path).unwrap();
    let software = ElementChoice { kind: Some(ElementKind::Software), tcti: None };
    let error = software.for_stored(&read).unwrap_err();
    assert!(error.to_string().contains("--secure-element tpm"), "{error}");
    assert!(matches!(Software.open(&path, read), Err(ElementError::InTpm)));

    let (_folder, path) = stored(&device_config(serde_json::Value::Null));
    let read = Stored::read(&path).unwrap();
    assert_eq!(software.for_stored(&read).unwrap().kind(), ElementKind::Software);
    assert_eq!(ElementChoice::default().for_stored(&read).unwrap().kind(), ElementKind::Software);
    let tpm = ElementChoice { kind: Some(ElementKind::Tpm), tcti: None };
    let error = tpm.for_stored(&read).unwrap_err();
    assert!(error.to_string().contains("--secure-element software"), "{error}");
}

#[test]
fn tokens_of_a_camera_that_was_used_before_go_on_above_all_that_it_may_have_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device_config.json");
    let config: DeviceConfig = serde_json::from_value(device_config(serde_json::Value::Null)).unwrap();
    Software.keep(&path, config.clone(), 0).unwrap();
    assert!(!folder.path().join("token_counter").exists(), "a new camera begins at its beginning");
    Software.keep(&path, config, 1_000_000).unwrap();
    assert!(TokenNumbers::beside(&path).take().unwrap() > 1_000_000);
}

#[test]
fn kinds_have_one_word_each() {
    for kind in [ElementKind::Software, ElementKind::Tpm] {
        assert_eq!(kind.as_str().parse::<ElementKind>().unwrap(), kind);
    }
    assert!("TPM".parse::<ElementKind>().is_err());
}

#[cfg(not(feature = "tpm"))]
#[test]
fn a_program_without_the_tpm_says_how_to_build_one_with_it() {
    let tpm = ElementChoice { kind: Some(ElementKind::Tpm), tcti: None };
    assert!(tpm.for_new().unwrap_err().to_string().contains("--features tpm"));
}

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use birthmark_core::network::EndorsementKeyState::{Current, Previous};
use birthmark_core::token::{SealedToken, v1};
use birthmark_service::random::OsRng;
use serde_json::{Value, json};

use super::testing::{AUTHORITY, DEVICE_KEY, as_value, device_config, network, network_of, rewritten};
use super::*;

const NUC: [u8; 32] = [9; 32];

fn key_of(number: u8) -> String {
    base64::encode([number; 32])
}

fn table(id: u16, key: u8) -> Value {
    json!({"table_id": id, "encryption_key": key_of(key)})
}

/// The seed's five fields.
fn seed_form() -> Value {
    json!({
        "device_serial": "PI_CAMERA_001", "table_id": 42, "encryption_key": key_of(1),
        "aggregator_url": "http://127.0.0.1:8545",
        "manufacturer_cert": {
            "authority_id": "SIMULATED_MFG_001", "validation_endpoint": "http://127.0.0.1:8001/validate"
        }
    })
}

fn full_form() -> Value {
    let mut config = seed_form();
    config["tables"] = json!([table(7, 2), table(42, 1), table(2499, 3)]);
    config["network"] = json!({"url": "http://127.0.0.1:8546/network.json", "sha256": "00"});
    config
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn config(&self) -> PathBuf {
        self.0.path().join("device_config.json")
    }

    fn load(&self, bytes: &[u8], mode: u32) -> Result<Credentials, DeviceError> {
        fs::write(self.config(), bytes).unwrap();
        fs::set_permissions(self.config(), fs::Permissions::from_mode(mode)).unwrap();
        Credentials::load(&self.config(), NucHash::from_bytes(NUC))
    }
}

#[test]
fn seeds_five_fields_suffice() {
    let credentials = Folder::new().load(seed_form().to_string().as_bytes(), 0o600).unwrap();
    assert_eq!(credentials.serial().as_str(), "PI_CAMERA_001");
    assert_eq!(credentials.authority().authority_id.as_str(), "SIMULATED_MFG_001");
    assert_eq!(credentials.aggregator_url(), "http://127.0.0.1:8545");
    assert_eq!(credentials.tables().map(TableId::value).collect::<Vec<_>>(), [42]);
}

#[test]
fn all_tables_are_drawn_from_and_every_token_opens_under_its_own() {
    let credentials = Folder::new().load(full_form().to_string().as_bytes(), 0o600).unwrap();
    let sealer = Sealer::new(Arc::new(credentials), OsRng);
    let (mut tables, mut nonces, mut high) = (BTreeSet::new(), BTreeSet::new(), false);
    for _ in 0..300 {
        let token: SealedToken = sealer.seal();
        let key = match token.table_id.value() {
            7 => [2; 32],
            42 => [1; 32],
            _ => [3; 32],
        };
        assert_eq!(v1::open(&token, &TableKey::from_bytes(key)).unwrap().expose(), &NUC);
        assert!(nonces.insert(token.nonce));
        tables.insert(token.table_id.value());
        high |= token.key_index.value() >= 500;
    }
    // A fair draw misses one of the three with probability 3 x (2/3)^300.
    assert_eq!(tables, BTreeSet::from([7, 42, 2499]));
    assert!(high);
}

#[test]
fn laxer_modes_are_refused_with_their_remedy() {
    let folder = Folder::new();
    for mode in [0o644, 0o640, 0o604, 0o660] {
        let error = folder.load(seed_form().to_string().as_bytes(), mode).unwrap_err().to_string();
        assert!(error.contains("chmod 600") && error.contains("device_config.json"), "{error}");
    }
}

#[test]
fn malformed_files_are_refused_by_name_and_without_their_content() {
    let folder = Folder::new();
    let good = full_form().to_string();
    let twice = good.replacen('{', r#"{"table_id": 42,"#, 1);
    let cases: [(&str, Vec<u8>); 8] = [
        ("empty", Vec::new()),
        ("truncated", good.as_bytes()[..good.len() - 9].to_vec()),
        ("duplicate key", twice.into_bytes()),
        ("two values", format!("{good}{good}").into_bytes()),
        ("not UTF-8", [0xff, 0xfe].to_vec()),
        ("a list", b"[]".to_vec()),
        ("an empty object", b"{}".to_vec()),
        ("too long", vec![b' '; MAX_CONFIG + 1]),
    ];
    for (what, bytes) in cases {
        let error = folder.load(&bytes, 0o600).unwrap_err().to_string();
        assert!(error.contains("device_config.json"), "{what}: {error}");
        assert!(!error.contains(&key_of(1)), "{what}: {error}");
    }
}

#[test]
fn every_required_field_is_missed_by_name() {
    let folder = Folder::new();
    for field in ["device_serial", "table_id", "encryption_key", "aggregator_url", "manufacturer_cert"] {
        let mut config = seed_form();
        config.as_object_mut().unwrap().remove(field);
        let error = folder.load(config.to_string().as_bytes(), 0o600).unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    }
}

#[test]
fn wrong_values_are_refused() {
    let folder = Folder::new();
    let refuse = |change: &dyn Fn(&mut Value)| {
        let mut config = full_form();
        change(&mut config);
        folder.load(config.to_string().as_bytes(), 0o600).unwrap_err()
    };
    let short = base64::encode([1; 31]);
    for text in [short.as_str(), "", "not base64", key_of(1).trim_end_matches('='), &format!("{}\n", key_of(1))] {
        let error = refuse(&|config| config["encryption_key"] = json!(text));
        assert!(matches!(error, DeviceError::Config { cause: ConfigError::Key { .. }, .. }), "{text:?}: {error}");
        let error = refuse(&|config| config["tables"][2]["encryption_key"] = json!(text));
        assert!(matches!(error, DeviceError::Config { cause: ConfigError::Key { .. }, .. }), "{text:?}: {error}");
    }
    for value in [json!(2500), json!(-1), json!("42"), json!(42.0), Value::Null] {
        assert!(matches!(refuse(&|config| config["table_id"] = value.clone()), DeviceError::Json { .. }), "{value}");
    }
    let cause = |error| match error {
        DeviceError::Config { cause, .. } => cause,
        other => panic!("{other}"),
    };
    let id = |id| TableId::new(id).unwrap();
    assert_eq!(cause(refuse(&|c| c["tables"][0] = table(42, 1))), ConfigError::TableTwice(id(42)));
    assert_eq!(cause(refuse(&|c| c["tables"][1] = table(42, 8))), ConfigError::TableMissing(id(42)));
    assert_eq!(cause(refuse(&|c| c["table_id"] = json!(41))), ConfigError::TableMissing(id(41)));
    let many: Vec<_> = (0..65).map(|id| table(id, 1)).collect();
    assert_eq!(cause(refuse(&|c| c["tables"] = json!(many))), ConfigError::TooManyTables(65));
}

#[test]
fn folder_and_missing_file_are_named_with_what_to_do() {
    let folder = Folder::new();
    let error = Credentials::load(&folder.config(), NucHash::from_bytes(NUC)).unwrap_err();
    assert!(matches!(error, DeviceError::NotProvisioned { .. }));
    assert!(error.to_string().contains("provision"), "{error}");
    let error = Credentials::load(folder.0.path(), NucHash::from_bytes(NUC)).unwrap_err();
    assert!(matches!(error, DeviceError::File(SecretFileError::NotAFile { .. })), "{error}");
}

#[test]
fn nothing_secret_is_shown() {
    let credentials = Folder::new().load(full_form().to_string().as_bytes(), 0o600).unwrap();
    let sealer = Sealer::new(Arc::new(credentials.clone()), OsRng);
    for shown in [format!("{credentials:?}"), format!("{sealer:?}")] {
        assert!(shown.contains("PI_CAMERA_001") && !shown.contains('9') && !shown.contains("tables"), "{shown}");
    }
}

#[test]
fn written_configuration_is_private_reads_back_and_is_not_overwritten() {
    let folder = Folder::new();
    let config: DeviceConfig = serde_json::from_value(full_form()).unwrap();
    write_config(&folder.config(), &config, IfProvisioned::Refuse).unwrap();
    assert_eq!(fs::metadata(folder.config()).unwrap().permissions().mode() & 0o7777, 0o600);
    let credentials = Credentials::load(&folder.config(), NucHash::from_bytes(NUC)).unwrap();
    assert_eq!(credentials.tables().count(), 3);

    let again = write_config(&folder.config(), &config, IfProvisioned::Refuse);
    assert!(matches!(again, Err(DeviceError::File(SecretFileError::Exists { .. }))), "{again:?}");
    write_config(&folder.config(), &config, IfProvisioned::ReplaceSameSerial).unwrap();
    let mut other = config;
    other.device_serial = DeviceSerial::new("PI_CAMERA_002").unwrap();
    let refused = write_config(&folder.config(), &other, IfProvisioned::ReplaceSameSerial);
    assert!(matches!(refused, Err(DeviceError::OtherSerial { .. })), "{refused:?}");
    let kept = Credentials::load(&folder.config(), NucHash::from_bytes(NUC)).unwrap();
    assert_eq!(kept.serial().as_str(), "PI_CAMERA_001");
}

#[test]
fn simulated_sensor_keeps_its_seed() {
    let folder = Folder::new();
    let first = simulated_seed(&folder.config(), &mut OsRng).unwrap();
    assert!(simulated_seed(&folder.config(), &mut OsRng).unwrap() == first);
    assert!(simulated_seed(&Folder::new().config(), &mut OsRng).unwrap() != first);
    let path = folder.0.path().join(SEED_FILE);
    fs::write(&path, [0; 31]).unwrap();
    assert!(matches!(simulated_seed(&folder.config(), &mut OsRng), Err(DeviceError::Seed { .. })));
    assert_eq!(fs::read(&path).unwrap().len(), 31, "left for a person to look at");
}

fn nuc() -> NucHash {
    NucHash::from_bytes(NUC)
}

#[test]
fn device_key_and_network_file_make_version_2() {
    let folder = Folder::new();
    let config = device_config(as_value(&network(&[(1, Current)])));
    let credentials = folder.load(config.to_string().as_bytes(), 0o600).unwrap();
    assert_eq!(credentials.token_version(), TokenVersion::V2);
    let asked = Credentials::load_for(&folder.config(), nuc(), Some(TokenVersion::V2)).unwrap();
    assert_eq!(asked.token_version(), TokenVersion::V2);
    let asked = Credentials::load_for(&folder.config(), nuc(), Some(TokenVersion::V1)).unwrap();
    assert_eq!(asked.token_version(), TokenVersion::V1);
}

#[test]
fn configuration_with_a_device_key_is_never_taken_for_version_1() {
    let folder = Folder::new();
    let with = |config: Value| folder.load(config.to_string().as_bytes(), 0o600).unwrap_err();
    let of =
        |change: &dyn Fn(&mut birthmark_core::network::NetworkBuilder)| device_config(as_value(&network_of(1, change)));
    let missing = |error: DeviceError| match error {
        DeviceError::Config { cause: ConfigError::Missing(missing), .. } => missing,
        other => panic!("{other}"),
    };
    assert_eq!(missing(with(device_config(Value::Null))), Missing::Network);
    assert_eq!(missing(with(of(&|b| b.authorities.clear()))), Missing::Authority);
    assert_eq!(missing(with(of(&|b| b.authorities[0].token_key = None))), Missing::TokenKey);
    assert_eq!(missing(with(device_config(as_value(&network(&[(1, Previous)]))))), Missing::EndorsementKey);
    assert_eq!(missing(with(device_config(as_value(&network(&[]))))), Missing::EndorsementKey);
    let absent = with(device_config(json!({"url": "http://a/network.json", "sha256": "0".repeat(64)})));
    assert!(matches!(absent, DeviceError::Network(NetworkFileError::Absent { .. })), "{absent}");
    let form = with(device_config(json!("http://a/network.json")));
    assert!(matches!(form, DeviceError::Config { cause: ConfigError::NetworkForm, .. }), "{form}");
    let forged = rewritten(&network(&[(1, Current)]), 2, |_| ());
    let forged = with(device_config(as_value(&forged)));
    assert!(matches!(forged, DeviceError::Network(NetworkFileError::Embedded(_))), "{forged}");
    // Each of them serves for version 1 where that is asked for.
    let asked = Credentials::load_for(&folder.config(), nuc(), Some(TokenVersion::V1)).unwrap();
    assert_eq!(asked.token_version(), TokenVersion::V1);
}

#[test]
fn what_is_missing_is_named() {
    for (missing, name) in [
        (Missing::DeviceKey, "device_key"),
        (Missing::Network, "network"),
        (Missing::Authority, "authority"),
        (Missing::TokenKey, "token_key"),
        (Missing::EndorsementKey, "endorsement key"),
        (Missing::Folder, "beside"),
    ] {
        assert!(missing.to_string().contains(name), "{missing}");
    }
}

#[test]
fn network_that_takes_version_2_only_wants_a_device_key() {
    let folder = Folder::new();
    let strict = network_of(1, |builder| builder.authorities[0].rules.min_token_version = MinTokenVersion::V2);
    let mut config = seed_form();
    config["network"] = as_value(&strict);
    let error = folder.load(config.to_string().as_bytes(), 0o600).unwrap_err();
    assert!(matches!(error, DeviceError::Config { cause: ConfigError::Missing(Missing::DeviceKey), .. }), "{error}");
    let asked = Credentials::load_for(&folder.config(), nuc(), Some(TokenVersion::V1)).unwrap();
    assert_eq!(asked.token_version(), TokenVersion::V1);
    // One that takes both, and one that nobody has fetched or can read, leave version 1 as it was.
    for network in [as_value(&network(&[(1, Current)])), full_form()["network"].clone(), json!({"network": "?"})] {
        config["network"] = network;
        let credentials = folder.load(config.to_string().as_bytes(), 0o600).unwrap();
        assert_eq!(credentials.token_version(), TokenVersion::V1);
    }
    let demanded = Credentials::load_for(&folder.config(), nuc(), Some(TokenVersion::V2)).unwrap_err();
    assert!(matches!(demanded, DeviceError::Config { cause: ConfigError::Missing(Missing::DeviceKey), .. }));
}

#[test]
fn malformed_device_keys_are_refused_without_being_shown() {
    let folder = Folder::new();
    let key = base64::encode(DEVICE_KEY);
    for text in [base64::encode([1; 31]), String::new(), "not base64".to_owned(), format!("{key} ")] {
        let mut config = device_config(as_value(&network(&[(1, Current)])));
        config["device_key"] = json!(text);
        let error = folder.load(config.to_string().as_bytes(), 0o600).unwrap_err();
        assert!(matches!(error, DeviceError::Config { cause: ConfigError::DeviceKey(_), .. }), "{error}");
        assert!(text.is_empty() || !error.to_string().contains(&text), "{error}");
    }
}

#[test]
fn configuration_without_a_folder_seals_version_1_or_says_why_not() {
    let parse = |value: Value| serde_json::from_value::<DeviceConfig>(value).unwrap();
    assert_eq!(Credentials::new(parse(seed_form()), nuc()).unwrap().token_version(), TokenVersion::V1);
    let config = device_config(as_value(&network(&[(1, Current)])));
    let refused = Credentials::new(parse(config.clone()), nuc()).unwrap_err();
    assert_eq!(refused, ConfigError::Missing(Missing::Folder));
    assert_eq!(Credentials::version_1(parse(config), nuc()).unwrap().token_version(), TokenVersion::V1);
}

#[test]
fn neither_device_key_nor_certificate_is_shown() {
    let folder = Folder::new();
    let config = device_config(as_value(&network(&[(1, Current)])));
    let credentials = folder.load(config.to_string().as_bytes(), 0o600).unwrap();
    let sealer = Sealer::new(Arc::new(credentials.clone()), OsRng);
    for shown in [format!("{credentials:?}"), format!("{sealer:?}")] {
        assert!(shown.contains(AUTHORITY) && shown.contains("V2"), "{shown}");
        // 0x5d in decimal, as a list of bytes would show it.
        for secret in ["93, 93", "5d5d", "MIIB", "CERTIFICATE", base64::encode(DEVICE_KEY).as_str()] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}

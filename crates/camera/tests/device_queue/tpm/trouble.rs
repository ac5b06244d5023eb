//! What an owner can meet, each with a name and its remedy.

use birthmark_camera::device::tpm::Tpm;
use birthmark_camera::device::{
    DeviceError, ElementChoice, ElementError, ElementKind, Health, SecureElement as _, Stored, TpmError,
};

use super::camera::Camera;
use super::swtpm::Swtpm;

#[test]
fn absent_tpm_is_named_with_what_a_pi_needs() {
    let Some(mut tpm) = Swtpm::start() else { return };
    let camera = Camera::provision(&tpm);
    tpm.halt();
    let error = camera.trouble(&tpm);
    assert!(matches!(error, TpmError::Absent { .. }), "{error}");
    for part in [tpm.tcti().as_str(), "tpm-slb9670", "group `tss`"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    for tcti in ["device:/nowhere/tpmrm0", "swtpm:host=127.0.0.1,port=1"] {
        assert!(matches!(Tpm::at(tcti).unwrap().rehearse(), Err(ElementError::Tpm(TpmError::Absent { .. }))), "{tcti}");
    }
    assert!(matches!(Tpm::at("the chip"), Err(TpmError::Tcti(_))));
}

#[test]
fn keys_of_another_tpm_are_named_so_and_come_back_with_their_own() {
    let (Some(own), Some(other)) = (Swtpm::start(), Swtpm::start()) else { return };
    let camera = Camera::provision(&own);
    let error = camera.trouble(&other);
    assert!(matches!(error, TpmError::Other) && error.to_string().contains("own camera"), "{error}");
    camera.credentials(&own).unwrap();
}

#[test]
fn a_cleared_tpm_is_told_from_another() {
    let Some(tpm) = Swtpm::start() else { return };
    let camera = Camera::provision(&tpm);
    tpm.tool("tpm2_clear", &["-c", "p"]);
    let error = camera.trouble(&tpm);
    assert!(matches!(error, TpmError::Cleared) && error.to_string().contains("reprovision"), "{error}");
}

#[test]
fn counter_that_is_gone_is_said_before_a_photograph_needs_it() {
    let Some(tpm) = Swtpm::start() else { return };
    let camera = Camera::provision(&tpm);
    let numbers = camera.numbers(&tpm);
    tpm.tool("tpm2_nvundefine", &["-C", "o", "0x180b100"]);
    let error = camera.trouble(&tpm);
    assert!(matches!(error, TpmError::CounterGone { index: 0x0180_b100 }), "{error}");
    assert!(error.to_string().contains("birthmark camera provision"), "{error}");
    assert!(numbers.take().unwrap_err().to_string().contains("0x0180b100"));
}

#[test]
fn what_killed_programs_left_loaded_is_in_nobodys_way() {
    let Some(tpm) = Swtpm::start() else { return };
    let camera = Camera::provision(&tpm);
    // Without a resource manager these stay: a TPM has room for three keys and three sessions.
    for number in 0..3 {
        tpm.tool("tpm2_createprimary", &["-C", "o", "-c", &format!("key{number}")]);
        tpm.try_tool("tpm2_startauthsession", &["-S", &format!("session{number}")]);
    }
    assert!(!tpm.try_tool("tpm2_createprimary", &["-C", "o", "-c", "key3"]).status.success(), "it is full");
    camera.credentials(&tpm).unwrap();
    assert!(tpm.tool("tpm2_getcap", &["handles-transient"]).trim().is_empty());
}

#[test]
fn full_memory_is_named_before_the_authority_is_asked() {
    let Some(tpm) = Swtpm::start() else { return };
    let mut size = 2048;
    let mut index = 0x0150_0000;
    while size >= 8 {
        let place = format!("{index:#x}");
        if tpm.try_tool("tpm2_nvdefine", &["-C", "o", "-s", &size.to_string(), &place]).status.success() {
            index += 1;
        } else {
            size /= 2;
        }
    }
    let error = Tpm::at(&tpm.tcti()).unwrap().rehearse().unwrap_err();
    assert!(matches!(error, ElementError::Tpm(TpmError::NvFull)), "{error}");
    assert!(error.to_string().contains("tpm2_nvundefine"), "{error}");
}

#[test]
fn an_owners_password_is_named() {
    let Some(tpm) = Swtpm::start() else { return };
    let camera = Camera::provision(&tpm);
    tpm.tool("tpm2_changeauth", &["-c", "o", "secret"]);
    let error = camera.trouble(&tpm);
    assert!(matches!(error, TpmError::OwnerPassword) && error.to_string().contains("tpm2_changeauth"), "{error}");
}

/// Makes the TPM refuse passwords, as another program's wrong ones would.
pub(crate) fn lock_out(tpm: &Swtpm) {
    tpm.tool("tpm2_dictionarylockout", &["-s", "-n", "1", "-t", "1000", "-l", "1000"]);
    tpm.tool("tpm2_createprimary", &["-C", "o", "-c", "primary"]);
    tpm.tool("tpm2_create", &["-C", "primary", "-p", "right", "-u", "public", "-r", "private", "-i", "/etc/hostname"]);
    tpm.tool("tpm2_flushcontext", &["-t"]);
    tpm.tool("tpm2_load", &["-C", "primary", "-u", "public", "-r", "private", "-c", "other"]);
    assert!(!tpm.try_tool("tpm2_unseal", &["-c", "other", "-p", "wrong"]).status.success());
    assert!(!tpm.try_tool("tpm2_unseal", &["-c", "other", "-p", "right"]).status.success(), "locked out");
    tpm.tool("tpm2_flushcontext", &["-t"]);
}

#[test]
fn others_wrong_passwords_do_not_stop_the_camera_and_are_said() {
    let Some(tpm) = Swtpm::start() else { return };
    let camera = Camera::provision(&tpm);
    let element = Tpm::at(&tpm.tcti()).unwrap();
    let inspect = || element.inspect(&camera.path(), Stored::read(&camera.path()).unwrap()).unwrap();
    assert_eq!(inspect(), Health { locked_out: false });
    lock_out(&tpm);
    assert_eq!(inspect(), Health { locked_out: true });
    camera.credentials(&tpm).unwrap();
    camera.numbers(&tpm).take().unwrap();
}

#[test]
fn damaged_keys_are_named_so() {
    let Some(tpm) = Swtpm::start() else { return };
    let camera = Camera::provision(&tpm);
    let mut value: serde_json::Value = serde_json::from_slice(&std::fs::read(camera.path()).unwrap()).unwrap();
    let private = value["sealed"]["objects"][0]["private"].as_str().unwrap();
    let mut bytes = birthmark_core::base64::decode_bounded(private, 1024).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    value["sealed"]["objects"][0]["private"] = birthmark_core::base64::encode(bytes).into();
    std::fs::write(camera.path(), value.to_string()).unwrap();
    assert!(matches!(camera.trouble(&tpm), TpmError::Damaged));
    value["sealed"]["objects"][0]["private"] = "AAAA".into();
    std::fs::write(camera.path(), value.to_string()).unwrap();
    assert!(camera.credentials(&tpm).is_err());
}

#[test]
fn the_other_element_is_refused_by_name() {
    let Some(tpm) = Swtpm::start() else { return };
    let camera = Camera::provision(&tpm);
    let choice = ElementChoice { kind: Some(ElementKind::Software), tcti: None };
    let nuc = birthmark_core::token::NucHash::from_bytes(super::camera::NUC);
    let error = birthmark_camera::device::Credentials::open(&camera.path(), nuc, None, &choice).unwrap_err();
    assert!(matches!(error, DeviceError::Element(ElementError::InTpm)), "{error}");
}

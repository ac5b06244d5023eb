//! A camera with its keys in a TPM (swtpm), against a whole demo.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use crate::installation::{Demo, json_lines, run, stderr};
use crate::swtpm::Swtpm;

/// A camera's folder beside the demo, and its TPM.
struct Camera {
    config: PathBuf,
    tpm: Swtpm,
}

impl Camera {
    fn new(folder: &Path, tpm: Swtpm) -> Self {
        Self { config: folder.join("field/device_config.json"), tpm }
    }

    /// Runs a command of this camera with its TPM.
    fn run(&self, command: &str, arguments: &[&str]) -> Output {
        let tcti = self.tpm.tcti();
        let fixed = ["camera", command, "--config", self.config.to_str().unwrap(), "--tcti", &tcti];
        run(&[fixed.as_slice(), arguments].concat())
    }

    fn provision(&self, demo: &Demo) -> Output {
        let sma = demo.ready["sma"].as_str().unwrap();
        self.run("provision", &["--sma-url", sma, "--serial", "TPM_CAMERA_001", "--secure-element", "tpm"])
    }

    fn capture(&self, demo: &Demo, arguments: &[&str]) -> Output {
        let aggregator = demo.ready["aggregator"].as_str().unwrap();
        let fixed = ["--sensor-size", "64x48", "--aggregator-url", aggregator, "--wait"];
        self.run("capture", &[fixed.as_slice(), arguments].concat())
    }

    /// What `selfcheck` says of the secure element: its status and its words.
    fn secure_element(&self) -> (String, String) {
        let output = self.run("selfcheck", &["--json", "--sensor-size", "64x48"]);
        let report = json_lines(&output).pop().unwrap();
        let checks = report["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["check"] == "secure element").unwrap();
        let text = |field: &str| check[field].as_str().unwrap().to_owned();
        (text("status"), text("message"))
    }
}

fn succeeded(output: &Output) {
    assert!(output.status.success(), "{}", stderr(output));
}

#[test]
fn ten_captures_with_keys_in_a_tpm_are_confirmed() {
    let Some(tpm) = Swtpm::certified() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(&folder.path().join("demo"), &[]);
    demo.result();
    let mut camera = Camera::new(folder.path(), tpm);
    let output = camera.provision(&demo);
    succeeded(&output);
    assert!(stderr(&output).contains("keys sealed in the TPM"), "{}", stderr(&output));
    let config = std::fs::read_to_string(&camera.config).unwrap();
    assert!(config.contains("\"sealed\"") && !config.contains("encryption_key"), "keys in the clear:\n{config}");
    assert_eq!(camera.secure_element().0, "ok", "{:?}", camera.secure_element());
    let sma = demo.client("sma");
    let evidence = async { sma.get_json::<Value>("/api/v1/devices/TPM_CAMERA_001/tpm").await.unwrap().body };
    let evidence = tokio::runtime::Runtime::new().unwrap().block_on(evidence);
    assert!(evidence["endorsement_certificate"].is_string(), "the authority keeps it: {evidence}");

    let output = camera.capture(&demo, &["--continuous", "10", "--json", "--secure-element", "tpm"]);
    succeeded(&output);
    let report = json_lines(&output).pop().unwrap();
    assert_eq!((&report["captured"], &report["confirmed"]), (&json!(10), &json!(10)), "{report}");
    assert_eq!((&report["secure_element"], &report["token_version"]), (&json!("tpm"), &json!(2)));
    // After a power cut of the chip, and without a word of which element it is.
    camera.tpm.power_cycle();
    let output = camera.capture(&demo, &["--once"]);
    succeeded(&output);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("Camera token generated") && said.contains("keys sealed in the TPM"), "{said}");
    assert!(said.contains("Blockchain submission successful") && !said.contains("software key"), "{said}");
    for number in 1..=11 {
        let jpeg = camera.config.with_file_name(format!("photos/IMG_{number:06}.jpg"));
        let network = demo.folder.join("network.json");
        let arguments = ["verify", jpeg.to_str().unwrap(), "--policy", network.to_str().unwrap()];
        assert_eq!(run(&arguments).status.code(), Some(0), "{}", jpeg.display());
    }
    // Asked twice, it keeps what it has.
    succeeded(&camera.provision(&demo));
    let output = camera.capture(&demo, &["--once", "--secure-element", "software"]);
    assert!(!output.status.success() && stderr(&output).contains("--secure-element tpm"), "{}", stderr(&output));
}

#[test]
fn what_is_wrong_with_the_tpm_is_said_with_its_remedy_and_nothing_is_lost() {
    let (Some(tpm), Some(other)) = (Swtpm::start(), Swtpm::start()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(&folder.path().join("demo"), &[]);
    demo.result();
    let mut camera = Camera::new(folder.path(), tpm);
    // Without a TPM the authority is not asked, so that the serial is free afterwards.
    camera.tpm.halt();
    let output = camera.provision(&demo);
    assert!(!output.status.success() && stderr(&output).contains("tpm-slb9670"), "{}", stderr(&output));
    camera.tpm.power_on();
    succeeded(&camera.provision(&demo));

    let own = std::mem::replace(&mut camera.tpm, other);
    let (status, message) = camera.secure_element();
    assert!(status == "failed" && message.contains("another TPM"), "{status}: {message}");
    assert_eq!(camera.capture(&demo, &["--once"]).status.code(), Some(1));
    camera.tpm = own;

    // The counter goes on when it was removed.
    succeeded(&camera.capture(&demo, &["--once"]));
    camera.tpm.tool("tpm2_nvundefine", &["-C", "o", "0x180b100"]);
    let (status, message) = camera.secure_element();
    assert!(status == "failed" && message.contains("camera provision"), "{status}: {message}");
    let output = camera.provision(&demo);
    succeeded(&output);
    assert!(stderr(&output).contains("above all numbers used"), "{}", stderr(&output));
    succeeded(&camera.capture(&demo, &["--once"]));

    lock_out(&camera.tpm);
    let (status, message) = camera.secure_element();
    assert!(status == "warning" && message.contains("--clear-lockout"), "{status}: {message}");
    succeeded(&camera.capture(&demo, &["--once"]));

    camera.tpm.tool("tpm2_clear", &["-c", "p"]);
    let (status, message) = camera.secure_element();
    assert!(status == "failed" && message.contains("cleared"), "{status}: {message}");
    // New keys from the authority, whose counters go on.
    let handed_out = folder.path().join("new.json");
    let sma = demo.ready["sma"].as_str().unwrap();
    let nuc = run(&["camera", "init", "--config", camera.config.to_str().unwrap()]);
    let nuc = String::from_utf8(nuc.stdout).unwrap();
    let fixed = ["sma", "device", "reprovision", "TPM_CAMERA_001", "--url", sma, "--nuc-hash", nuc.trim()];
    let token = folder.path().join("token");
    birthmark_service::secret_file::create(&token, "ab".repeat(32).as_bytes()).unwrap();
    let files = ["--token-file", token.to_str().unwrap(), "--out", handed_out.to_str().unwrap()];
    succeeded(&run(&[&fixed[..], &files].concat()));
    let import = ["--import", handed_out.to_str().unwrap(), "--secure-element", "tpm"];
    assert!(!camera.run("provision", &import).status.success(), "the old configuration is never overwritten");
    std::fs::rename(&camera.config, folder.path().join("old.json")).unwrap();
    succeeded(&camera.run("provision", &import));
    succeeded(&camera.capture(&demo, &["--once"]));
}

/// Makes the TPM refuse passwords, as another program's wrong ones would.
fn lock_out(tpm: &Swtpm) {
    tpm.tool("tpm2_dictionarylockout", &["-s", "-n", "1", "-t", "1000", "-l", "1000"]);
    tpm.tool("tpm2_nvdefine", &["-C", "o", "-s", "8", "-a", "authread|authwrite", "-p", "right", "0x1500000"]);
    assert!(!tpm.try_tool("tpm2_nvread", &["-C", "0x1500000", "-P", "wrong", "0x1500000"]).status.success());
}

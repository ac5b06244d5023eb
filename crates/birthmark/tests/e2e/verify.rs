//! `birthmark verify` as a person or a script uses it: what it says and how it exits.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::installation::{Demo, json_lines, run, stderr};

struct Registered {
    demo: Demo,
    result: Value,
    _folder: tempfile::TempDir,
}

fn registered() -> Registered {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(&folder.path().join("demo"), &[]);
    let result = demo.result();
    Registered { demo, result, _folder: folder }
}

impl Registered {
    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(self.result[name].as_str().unwrap())
    }
}

/// Exit code and result name of `verify FILE --policy POLICY …`.
fn verify(file: &Path, policy: &Path, more: &[&str]) -> (Option<i32>, String) {
    let arguments = ["verify", file.to_str().unwrap(), "--policy", policy.to_str().unwrap(), "--json"];
    let output = run(&[arguments.as_slice(), more].concat());
    let line = json_lines(&output).pop().unwrap_or_else(|| panic!("{}", stderr(&output)));
    (output.status.code(), line["result"].as_str().unwrap().to_owned())
}

/// Stands before a server; gives its own address, and what clients have sent.
fn listening(server: &str) -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (server, heard) = (server.strip_prefix("http://").unwrap().to_owned(), Arc::<Mutex<Vec<u8>>>::default());
    let written = Arc::clone(&heard);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut server) = (client.unwrap(), TcpStream::connect(&server).unwrap());
            let (mut to_client, mut from_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from_server, &mut to_client));
            let written = Arc::clone(&written);
            std::thread::spawn(move || {
                let mut piece = [0; 4096];
                while let Ok(length @ 1..) = client.read(&mut piece) {
                    written.lock().unwrap().extend_from_slice(&piece[..length]);
                    server.write_all(&piece[..length]).unwrap();
                }
            });
        }
    });
    (address, heard)
}

/// Those that were asked for, each once.
fn prefixes(heard: &Mutex<Vec<u8>>) -> Vec<String> {
    let heard = String::from_utf8(heard.lock().unwrap().clone()).unwrap();
    let asked = heard.lines().filter_map(|line| line.strip_prefix("GET /api/v1/verify/prefix/"));
    let mut prefixes: Vec<_> = asked.map(|path| path.split([' ', '?']).next().unwrap().to_owned()).collect();
    prefixes.dedup();
    prefixes
}

fn copy(file: &Path, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
    let mut bytes = std::fs::read(file).unwrap();
    change(&mut bytes);
    let copy = file.with_file_name(name);
    std::fs::write(&copy, bytes).unwrap();
    copy
}

#[test]
fn exit_codes_tell_proven_from_changed_from_forged_from_unknown() {
    let registered = registered();
    let (jpeg, proof, policy) = (registered.path("jpeg"), registered.path("proof"), registered.path("policy"));
    let with_proof = ["--proof", proof.to_str().unwrap()];
    let expect = |file: &Path, more: &[&str], code, name: &str| {
        assert_eq!(verify(file, &policy, more), (Some(code), name.to_owned()), "{}", file.display());
    };
    expect(&jpeg, &with_proof, 0, "proven");
    expect(&jpeg, &[], 0, "proven");

    let length = std::fs::metadata(&jpeg).unwrap().len();
    let middle = usize::try_from(length / 2).unwrap();
    let changed = copy(&jpeg, "changed.jpg", |bytes| bytes[middle] ^= 1);
    expect(&changed, &with_proof, 1, "other_file");

    for at in [0, 40, 200, std::fs::read(&proof).unwrap().len() - 10] {
        let forged = copy(&proof, "forged.tlog-proof", |bytes| bytes[at] ^= 1);
        expect(&jpeg, &["--proof", forged.to_str().unwrap()], 2, "bad_proof");
    }

    let missing = jpeg.with_file_name("missing.jpg");
    expect(&missing, &with_proof, 3, "unchecked");
    expect(jpeg.parent().unwrap(), &with_proof, 3, "unchecked");
    expect(&jpeg, &["--proof", "/nonexistent"], 3, "unchecked");
    let unknown = copy(&jpeg, "unknown.jpg", |bytes| bytes.truncate(middle));
    expect(&unknown, &[], 3, "unchecked");
    let node = registered.demo.ready["node"].as_str().unwrap();
    expect(&unknown, &["--url", node], 1, "no_record");
    let aggregator = registered.demo.ready["aggregator"].as_str().unwrap();
    for server in [node, aggregator] {
        let asked = ["verify", unknown.to_str().unwrap(), "--url", server, "--policy", policy.to_str().unwrap()];
        let said = run(&asked);
        let text = String::from_utf8(said.stdout).unwrap();
        assert_eq!((said.status.code(), text.contains("proven absent as of 2")), (Some(1), true), "{server}: {text}");
        let said = json_lines(&run(&[&asked[..], &["--json"]].concat())).pop().unwrap();
        assert_eq!((&said["absence"], said["as_of"]["size"].as_u64() > Some(1)), (&"proven".into(), true), "{said}");
    }
    expect(&unknown, &["--url", "http://127.0.0.1:1"], 3, "unchecked");
    let jpeg_alone = copy(&jpeg, "alone.jpg", |_| {});
    expect(&jpeg_alone, &["--url", node], 0, "proven");

    for server in [node, aggregator] {
        let (server, asked) = listening(server);
        expect(&jpeg_alone, &["--url", &server, "--private"], 0, "proven");
        let hash = birthmark_core::image_data::jpeg_image_data(&std::fs::read(&jpeg_alone).unwrap()).unwrap();
        let own: String = hash.index_key().to_string().chars().take(1).collect();
        assert_eq!(prefixes(&asked), [own], "the picture data's alone: two would give the record away");
        asked.lock().unwrap().clear();
        let private = ["verify", unknown.to_str().unwrap(), "--url", &server, "--private", "--json", "--policy"];
        let said = json_lines(&run(&[&private[..], &[policy.to_str().unwrap()]].concat())).pop().unwrap();
        assert_eq!((&said["result"], &said["absence"]), (&"no_record".into(), &"proven".into()), "{said}");
        let asked = String::from_utf8(asked.lock().unwrap().clone()).unwrap();
        assert!(asked.contains("GET /api/v1/verify/prefix/") && asked.contains("GET /checkpoint"), "{asked}");
        let addresses = asked.lines().filter_map(|line| line.strip_prefix("GET /api/v1/verify/"));
        assert!(addresses.into_iter().all(|path| path.len() < "prefix/12345678 HTTP/1.1".len() + 1), "{asked}");
    }

    let other_policy = tempfile::tempdir().unwrap();
    let made = run(&["network", "init", "--out", other_policy.path().to_str().unwrap(), "--origin", "other.example"]);
    assert!(made.status.success(), "{}", stderr(&made));
    let foreign = other_policy.path().join("network.json");
    assert_eq!(verify(&jpeg, &foreign, &[]), (Some(2), "bad_proof".to_owned()));
    let absent = verify(&unknown, &foreign, &["--url", node]);
    assert_eq!(absent, (Some(2), "bad_proof".to_owned()), "another network's absence proves nothing here");
}

#[test]
fn a_photograph_whose_metadata_was_stripped_is_still_proven() {
    let registered = registered();
    let stripped = copy(&registered.path("jpeg"), "stripped.jpg", |bytes| {
        let start = bytes.windows(2).position(|marker| marker == [0xff, 0xe1]).expect("an EXIF segment");
        let length = usize::from(u16::from_be_bytes([bytes[start + 2], bytes[start + 3]]));
        bytes.drain(start..start + 2 + length);
    });
    let arguments = ["verify", stripped.to_str().unwrap(), "--policy"];
    let more = ["--json", "--proof"];
    let (policy, proof) = (registered.path("policy"), registered.path("proof"));
    let output = run(&[&arguments[..], &[policy.to_str().unwrap()], &more, &[proof.to_str().unwrap()]].concat());
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(json_lines(&output)[0]["match"], "image_data");
}

#[test]
fn a_dng_is_proven_by_its_samples_and_the_answer_says_so() {
    let registered = registered();
    let (dng, policy) = (registered.path("dng"), registered.path("policy"));
    let arguments = |file: &Path| {
        ["verify", file.to_str().unwrap(), "--json", "--policy", policy.to_str().unwrap()].map(str::to_owned)
    };
    let answer = |file: &Path| {
        let arguments = arguments(file);
        let output = run(&arguments.each_ref().map(String::as_str));
        (output.status.code(), json_lines(&output).pop().unwrap()["match"].clone())
    };
    assert_eq!(answer(&dng), (Some(0), Value::from("raw")), "with the proof beside the JPEG");
    // Text in the header is not what was registered, and is not claimed to be.
    let edited = copy(&dng, "IMG_000001.edited.dng", |bytes| {
        let at = bytes.windows(9).position(|text| text == b"simulated").unwrap();
        bytes[at] = b'S';
    });
    let proof = registered.path("proof");
    std::fs::copy(&proof, edited.with_file_name("IMG_000001.edited.dng.tlog-proof")).unwrap();
    assert_eq!(answer(&edited), (Some(0), Value::from("raw")));
    let changed = copy(&dng, "IMG_000001.changed.dng", |bytes| *bytes.last_mut().unwrap() ^= 1);
    std::fs::copy(&proof, changed.with_file_name("IMG_000001.changed.dng.tlog-proof")).unwrap();
    assert_eq!(answer(&changed).0, Some(1), "one sample is another");
}

#[test]
fn wrong_usage_is_could_not_be_checked() {
    for arguments in [&["verify"][..], &["verify", "--no-such-flag", "x"], &["verify", "x"]] {
        assert_eq!(run(arguments).status.code(), Some(3), "{arguments:?}");
    }
    assert_eq!(run(&["verify", "--help"]).status.code(), Some(0));
}

/// One of `vectors/proof.json`: its file, proof and policy written to a folder.
struct Vector {
    file: PathBuf,
    policy: PathBuf,
    _folder: tempfile::TempDir,
}

impl Vector {
    fn new(list: &str, name: &str) -> Self {
        let vectors: Value = serde_json::from_str(include_str!("../../../../vectors/proof.json")).unwrap();
        let case = vectors[list].as_array().unwrap().iter().find(|case| case["name"] == name).expect(name);
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        // The hashes there are of such texts.
        let file = write("photo", "birthmark vectors: processed");
        write("photo.tlog-proof", case["proof"].as_str().unwrap());
        let trust = case["trust"].as_str().unwrap();
        let policy = write("policy", vectors["trust"][trust].as_str().unwrap());
        Self { file, policy, _folder: folder }
    }

    fn verify(&self, more: &[&str]) -> std::process::Output {
        let (file, policy) = (self.file.to_str().unwrap(), self.policy.to_str().unwrap());
        run(&[&["verify", file, "--policy", policy], more].concat())
    }
}

#[test]
fn an_endorsement_is_checked_here_where_it_can_be_and_otherwise_said_not_to_be() {
    for (name, endorsement, key, words) in [
        ("endorsed, with the endorsement", "verified", Value::from("current"), "its endorsement was checked here."),
        ("endorsed, without the endorsement", "validators", Value::Null, "endorsement checked by the validators only."),
        ("endorsed, by a bare policy", "validators", Value::Null, "endorsement checked by the validators only."),
        (
            "endorsed, by a key that was revoked since",
            "verified",
            Value::from("revoked"),
            "the key of that endorsement was revoked since.",
        ),
    ] {
        let vector = Vector::new("cases", name);
        let output = vector.verify(&["--json"]);
        let answer = json_lines(&output).pop().unwrap();
        assert_eq!(output.status.code(), Some(0), "{name}: {answer}");
        assert_eq!(answer["assurance"], "endorsed", "{name}");
        assert_eq!((&answer["endorsement"], &answer["endorsement_key"]), (&Value::from(endorsement), &key), "{name}");
        let said = String::from_utf8(vector.verify(&[]).stdout).unwrap();
        assert!(said.contains(words), "{name}: {said}");
        assert_eq!(said.contains("Caution"), key == "revoked", "{name}: {said}");
    }
    let attested = Vector::new("cases", "processed photo").verify(&["--json"]);
    let answer = json_lines(&attested).pop().unwrap();
    assert_eq!((&answer["assurance"], &answer["endorsement"]), (&Value::from("attested"), &Value::from("none")));
}

#[test]
fn an_endorsement_that_does_not_hold_is_a_proof_that_does_not_hold() {
    for name in [
        "a flipped bit in the endorsement",
        "another capture's endorsement",
        "another authority's endorsement",
        "an endorsement by a key that this file does not have yet",
        "an endorsement that the leaf does not name",
        "a revoked key's wrong endorsement",
    ] {
        let output = Vector::new("altered", name).verify(&["--json"]);
        let answer = json_lines(&output).pop().unwrap();
        assert_eq!((output.status.code(), &answer["result"]), (Some(2), &Value::from("bad_proof")), "{name}");
        assert!(answer["error"].as_str().unwrap().contains("endorsement"), "{name}: {answer}");
    }
}

/// A server that gives this answer to whoever asks, until the test ends.
fn answers_with(json: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = [0; 4096];
            let _ = stream.read(&mut asked).unwrap();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", json.len());
            stream.write_all(format!("{head}{json}").as_bytes()).unwrap();
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn several_servers_are_compared_and_the_one_that_fails_is_named_with_its_check() {
    let registered = registered();
    let (jpeg, policy) = (registered.path("jpeg"), registered.path("policy"));
    let [node, aggregator] = ["node", "aggregator"].map(|name| registered.demo.ready[name].as_str().unwrap());
    let asked = |file: &Path, urls: &[&str]| {
        let mut arguments = vec!["verify", file.to_str().unwrap(), "--policy", policy.to_str().unwrap(), "--json"];
        arguments.extend(urls.iter().flat_map(|url| ["--url", *url]));
        let output = run(&arguments);
        let line = json_lines(&output).pop().unwrap_or_else(|| panic!("{}", stderr(&output)));
        (output.status.code(), line)
    };
    let (code, said) = asked(&jpeg, &[node, aggregator]);
    assert_eq!((code, &said["agree"], &said["result"]), (Some(0), &true.into(), &"proven".into()), "{said}");

    let hash = birthmark_core::ImageHash::of(&std::fs::read(&jpeg).unwrap());
    let path = format!("/api/v1/verify/{hash}");
    let honest = registered.demo.client("node").get_bytes(&path).await.unwrap().body;
    let mut altered: Value = serde_json::from_slice(&honest).unwrap();
    let proof = altered["proof"].as_str().unwrap().replacen("\n\n", "\n\nx", 1);
    altered["proof"] = proof.into();
    let forger = answers_with(altered.to_string());
    let (code, said) = asked(&jpeg, &[&forger, "http://127.0.0.1:1", node]);
    assert_eq!((code, &said["agree"], &said["result"]), (Some(0), &false.into(), &"proven".into()), "{said}");
    assert_eq!((&said["servers"][0]["url"], &said["servers"][0]["result"]), (&forger.into(), &"bad_proof".into()));
    assert!(said["servers"][0]["error"].as_str().unwrap().contains("checkpoint"), "{said}");
    assert_eq!((&said["servers"][1]["result"], &said["servers"][2]["result"]), (&"unchecked".into(), &"proven".into()));

    let unknown = copy(&jpeg, "unknown.jpg", |bytes| bytes.truncate(1000));
    let denies = answers_with(format!("{{\"verified\":false,\"recorded\":false,\"image_hash\":\"{hash}\"}}"));
    let (code, said) = asked(&unknown, &[&denies, node, aggregator]);
    assert_eq!((code, &said["absence"], &said["agree"]), (Some(1), &"proven".into(), &true.into()), "{said}");
    let (code, said) = asked(&jpeg, &[&denies, node]);
    assert_eq!((code, &said["agree"]), (Some(0), &false.into()), "a denial without proof changes nothing: {said}");
    let text = run(&[
        "verify",
        jpeg.to_str().unwrap(),
        "--policy",
        policy.to_str().unwrap(),
        "--url",
        &denies,
        "--node",
        node,
    ]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("do not agree") && text.contains("no record"), "{text}");
}

//! The camera is killed with SIGKILL at every step of a photograph's way, once each.
//!
//! Whatever the last step was: what was called captured has its row, each row has its files as they were hashed,
//! no row goes, and in the end each photograph is on record once, by one receipt.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, Mutex};

use birthmark_camera::queue::{Photo, PhotoState, Queue};
use birthmark_core::ImageHash;
use birthmark_core::leaf::Leaf;
use birthmark_core::tile::{Tile, TileKind, decode_entries};
use birthmark_service::client::HttpClient;
use serde_json::Value;

use crate::daemon::camera_of;
use crate::installation::{Demo, birthmark, stderr};

/// In the order of a photograph's way.
const POINTS: [&str; 17] = [
    "exposed",
    "dng written",
    "dng synced",
    "dng renamed",
    "dng kept",
    "jpg written",
    "jpg synced",
    "jpg renamed",
    "jpg kept",
    "both files kept",
    "row kept",
    "token sealed",
    "token kept",
    "answered",
    "tlog-proof renamed",
    "proof kept",
    "confirmation kept",
];

/// A camera whose process dies.
struct Victim {
    config: PathBuf,
    aggregator: String,
}

impl Victim {
    fn capture(&self, die_at: &str) -> Output {
        let config = self.config.to_str().unwrap();
        let fixed = ["camera", "capture", "--once", "--wait", "--sensor-size", "64x48", "--config", config];
        let mut command = birthmark(&[&fixed[..], &["--aggregator-url", &self.aggregator]].concat());
        command.env("BIRTHMARK_DIE_AT", die_at).output().unwrap()
    }

    fn data(&self) -> &Path {
        self.config.parent().unwrap()
    }

    /// The queue, opened as the next process opens it.
    async fn rows(&self) -> Vec<Photo> {
        let queue = Queue::open(self.data()).unwrap();
        let rows = queue.photos(None).await.unwrap();
        queue.close().await;
        rows
    }

    /// Each row has its files, as they were hashed.
    fn check_files(&self, rows: &[Photo]) {
        for row in rows {
            let jpeg = fs::read(self.data().join(&row.photo.jpeg)).unwrap();
            assert_eq!(ImageHash::of(&jpeg), row.photo.hashes.processed, "{}", row.photo.jpeg.display());
            let dng = fs::read(self.data().join(&row.photo.dng)).unwrap();
            let raw = birthmark_camera::dng::read_canonical_raw(&dng).unwrap();
            assert_eq!(raw.hash(), row.photo.hashes.raw, "{}", row.photo.dng.display());
        }
    }

    /// How many photographs have both files under their names.
    fn pairs(&self) -> usize {
        let names: BTreeSet<String> = fs::read_dir(self.data().join("photos"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let jpegs = names.iter().filter_map(|name| name.strip_suffix(".jpg"));
        jpegs.filter(|stem| names.contains(&format!("{stem}.dng"))).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_step_no_photograph_is_lost_or_recorded_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(&folder.path().join("demo"), &[]);
    demo.result();
    let wire = Wire::to(demo.ready["aggregator"].as_str().unwrap());
    let victim = Victim { config: camera_of(&demo), aggregator: wire.url.clone() };
    let mut before = victim.rows().await;
    let own = before.len();
    for point in POINTS {
        let output = victim.capture(point);
        assert_eq!(output.status.signal(), Some(9), "{point} was not reached: {}", stderr(&output));
        let rows = victim.rows().await;
        victim.check_files(&rows);
        let said = String::from_utf8(output.stdout).unwrap();
        let captured = said.lines().filter(|line| line.contains("Captured:")).count();
        assert!(rows.len() >= before.len() + captured, "{point}: captured, and no row");
        assert!(rows.len() >= before.len(), "{point}: a row is gone");
        before = rows;
    }
    let output = victim.capture("nowhere");
    assert!(output.status.success(), "{}", stderr(&output));
    let rows = victim.rows().await;
    victim.check_files(&rows);
    assert_eq!(victim.pairs(), rows.len(), "each pair of files has its row");
    // Only before both files are there under their names there is no photograph.
    assert!(rows.len() - own >= POINTS.len() + 1 - 9, "{}", rows.len());
    assert!(rows.iter().all(|row| row.state == PhotoState::Confirmed && row.proof.is_some()), "{rows:?}");
    let names = fs::read_dir(victim.data().join("photos")).unwrap();
    let leftover = |name: &str| name.ends_with("-partial");
    assert!(!names.into_iter().any(|entry| leftover(entry.unwrap().file_name().to_str().unwrap())));

    let times = times_on_record(&demo.client("node")).await;
    for row in &rows {
        assert_eq!(times.get(&row.photo.hashes.raw), Some(&1), "{}", row.photo.jpeg.display());
    }
    assert_eq!(wire.receipts().len(), rows.len() - own, "one receipt each");
}

/// In how many leaves each hash stands.
async fn times_on_record(node: &HttpClient) -> BTreeMap<ImageHash, usize> {
    let status = node.get_json::<Value>("/api/v1/status").await.unwrap().body;
    let size = status["checkpoint_size"].as_u64().unwrap();
    let mut times = BTreeMap::new();
    for index in 0..size.div_ceil(256) {
        let tile = Tile::in_tree(TileKind::Entries, index, size).unwrap();
        let bundle = node.get_bytes(&format!("/{tile}")).await.unwrap().body;
        for leaf in decode_entries(&bundle, tile.width()).unwrap() {
            if let Leaf::Record(record) = Leaf::decode(leaf).unwrap() {
                for entry in record.entries.as_slice() {
                    *times.entry(entry.hash).or_default() += 1;
                }
            }
        }
    }
    times
}

/// Stands between camera and aggregator and remembers what the aggregator says.
struct Wire {
    url: String,
    said: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Wire {
    fn to(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let upstream = upstream.strip_prefix("http://").unwrap().to_owned();
        let said = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            for (number, client) in listener.incoming().enumerate() {
                let (client, server) = (client.unwrap(), TcpStream::connect(&upstream).unwrap());
                heard.lock().unwrap().push(Vec::new());
                let (to_server, to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || carry(client, to_server, |_| ()));
                let heard = Arc::clone(&heard);
                std::thread::spawn(move || {
                    carry(server, to_client, |piece| heard.lock().unwrap()[number].extend_from_slice(piece));
                });
            }
        });
        Self { url, said }
    }

    /// Every receipt that was ever given.
    fn receipts(&self) -> BTreeSet<String> {
        let said = self.said.lock().unwrap();
        let texts = said.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let field = "\"receipt_id\":\"";
        texts
            .flat_map(|text| text.split(field).skip(1).map(|rest| rest.chars().take(36).collect()).collect::<Vec<_>>())
            .collect()
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, mut heard: impl FnMut(&[u8])) {
    let mut piece = [0; 8192];
    while let Ok(count @ 1..) = from.read(&mut piece) {
        heard(&piece[..count]);
        if to.write_all(&piece[..count]).is_err() {
            break;
        }
    }
    // The other side may have gone before.
    let _ = to.shutdown(Shutdown::Write);
}

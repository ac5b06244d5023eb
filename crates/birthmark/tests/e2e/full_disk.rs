//! One of four validators runs out of disk. The others go on; when there is room again, it catches up.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::installation::{json_lines, run, stderr};
use crate::validators::Four;

/// A small file system over a node's folder, gone when dropped.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None where this machine does not let one be mounted.
    pub(crate) fn over(folder: &Path) -> Option<Self> {
        let aside = folder.with_extension("aside");
        std::fs::rename(folder, &aside).unwrap();
        std::fs::create_dir(folder).unwrap();
        let mount = ["-t", "tmpfs", "-o", "size=128m,mode=0700", "none", folder.to_str().unwrap()];
        let mounted = Command::new("mount").args(mount).output().is_ok_and(|output| output.status.success());
        if !mounted {
            return None;
        }
        let disk = Self(folder.to_owned());
        let copied =
            Command::new("cp").args(["-a", &format!("{}/.", aside.display()), folder.to_str().unwrap()]).status();
        assert!(copied.unwrap().success());
        Some(disk)
    }

    /// Leaves no byte.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = std::fs::File::create(&path).unwrap();
        for size in [1 << 20, 1 << 12, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").args(["-l", self.0.to_str().unwrap()]).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_validator_on_a_full_disk_holds_up_nobody_and_catches_up_when_there_is_room() {
    let mut four = Arc::new(Four::start());
    let mut load = JoinSet::new();
    four.load_until(&mut load, 10).await;
    while load.join_next().await.is_some() {}
    let data = four.nodes[3].folder.clone();
    Arc::get_mut(&mut four).unwrap().nodes[3].kill();
    let Some(disk) = SmallDisk::over(&data) else {
        println!("skipped: this machine lets nobody mount a small file system");
        return;
    };
    Arc::get_mut(&mut four).unwrap().nodes[3].start();
    four.settle().await;
    let filler = disk.fill();
    four.load_until(&mut load, 100).await;
    while load.join_next().await.is_some() {}
    // Whether it has ended or waits: with room again, and started again, it is where the others are.
    std::fs::remove_file(filler).unwrap();
    let nodes = &mut Arc::get_mut(&mut four).unwrap().nodes;
    nodes[3].kill();
    nodes[3].start();
    four.load_until(&mut load, 10).await;
    while load.join_next().await.is_some() {}
    four.check().await;
    Arc::get_mut(&mut four).unwrap().nodes[3].kill();
    let checked = run(&["fsck", "--json", "--data", data.to_str().unwrap()]);
    assert_eq!(json_lines(&checked)[0]["sound"], true, "{}", stderr(&checked));
    drop(four);
}

//! Writes the seeds of every target to `fuzz/corpus/<target>/`, where `cargo fuzz` looks for them.

use std::path::Path;

use birthmark_fuzz::TARGETS;

fn main() -> std::io::Result<()> {
    for (name, _, seeds) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        std::fs::create_dir_all(&folder)?;
        let seeds = seeds();
        for (number, seed) in seeds.iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number:03}")), seed)?;
        }
        println!("{name}: {} seeds", seeds.len());
    }
    Ok(())
}

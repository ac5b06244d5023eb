//! The linter keeps photographs away from the manufacturer: this crate's `clippy.toml` forbids the
//! type that could name one. A crate's own file replaces the root's, so it must repeat the root's bans.

const OWN: &str = include_str!("../clippy.toml");
const ROOT: &str = include_str!("../../../clippy.toml");
const CORE: &str = include_str!("../../core/src/lib.rs");

#[test]
fn every_ban_of_the_root_is_repeated() {
    let missing: Vec<_> = ROOT.lines().filter(|line| !OWN.contains(line)).collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn the_type_of_image_hashes_is_forbidden_by_both_its_names() {
    let (_, banned) = OWN.split_once("disallowed-types = [").unwrap();
    for name in ["birthmark_core::ImageHash", "birthmark_core::hash::ImageHash"] {
        assert!(banned.contains(&format!("path = \"{name}\", reason = ")), "{name}");
    }
    // The linter only warns about a path that does not exist: a renamed type must be noticed here.
    assert!(CORE.contains("pub mod hash;") && CORE.contains("pub use hash::ImageHash;"));
}

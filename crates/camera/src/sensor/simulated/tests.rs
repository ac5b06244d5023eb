use birthmark_core::ImageHash;
use proptest::prelude::*;

use super::*;

fn sensor(label: &str, scene: Scene, first_frame: u64) -> SimulatedImx477 {
    let size = FrameSize::new(320, 240).unwrap();
    SimulatedImx477::new(SimulatedConfig { seed: DeviceSeed::from_label(label), size, scene, first_frame }).unwrap()
}

fn raw_hash(sensor: &mut SimulatedImx477) -> ImageHash {
    sensor.expose().unwrap().raw.hash()
}

fn samples(exposure: &Exposure) -> Vec<f64> {
    exposure.raw.canonical_bytes().as_chunks().0.iter().map(|bytes| u16::from_le_bytes(*bytes).into()).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / f64::from(u32::try_from(values.len()).unwrap())
}

/// Median of the absolute deviations, as a standard deviation: warm sites do not disturb it.
fn spread(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.map(f64::abs).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2] * 1.4826
}

#[test]
fn same_seed_and_frame_give_the_same_hash_and_all_others_do_not() {
    let first = raw_hash(&mut sensor("a", Scene::Procedural, 5));
    assert_eq!(first, raw_hash(&mut sensor("a", Scene::Procedural, 5)));
    assert_ne!(first, raw_hash(&mut sensor("a", Scene::Procedural, 6)));
    assert_ne!(first, raw_hash(&mut sensor("b", Scene::Procedural, 5)));
    assert_ne!(first, raw_hash(&mut sensor("a", Scene::Flat(0.5), 5)));
}

#[test]
fn exposures_count_their_frames() {
    let mut sensor = sensor("a", Scene::Flat(0.1), 7);
    let second = {
        sensor.expose().unwrap();
        sensor.expose().unwrap()
    };
    assert_eq!((second.metadata.frame, sensor.next_frame()), (8, 9));
    assert_eq!(second.raw.hash(), raw_hash(&mut self::sensor("a", Scene::Flat(0.1), 8)));
    assert_eq!(second.metadata.origin, Origin::Simulation);
    assert!(second.metadata.model.contains("simulated"));
}

#[test]
fn last_frame_number_is_not_reused() {
    let mut sensor = sensor("a", Scene::Flat(0.1), u64::MAX);
    for _ in 0..2 {
        assert!(matches!(sensor.expose(), Err(SensorError::FramesExhausted)));
    }
}

#[test]
fn number_of_threads_changes_nothing() {
    let many = raw_hash(&mut sensor("a", Scene::Procedural, 1));
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(many, one.install(|| raw_hash(&mut sensor("a", Scene::Procedural, 1))));
}

#[test]
fn darkness_reads_the_black_level_with_read_noise() {
    let mut sensor = sensor("noise", Scene::Flat(0.0), 0);
    let values = samples(&sensor.expose().unwrap());
    let black = f64::from(model::BLACK_LEVEL);
    assert!((mean(&values) - black).abs() < 0.2, "{}", mean(&values));
    // Read noise and DSNU add up to 3.03 electrons, that is 1.42 DN; rounding to DN adds 0.29.
    let expected = (0.47_f64.powi(2) * (9.0 + 0.16) + 1.0 / 12.0).sqrt();
    let variance = mean(&values.iter().filter(|v| **v < black + 10.0).map(|v| (v - black).powi(2)).collect::<Vec<_>>());
    assert!((variance.sqrt() / expected - 1.0).abs() < 0.03, "{} {expected}", variance.sqrt());
}

#[test]
fn noise_of_light_follows_its_square_root_and_the_fixed_pattern_stays() {
    let mut sensor = sensor("noise", Scene::Flat(0.5), 0);
    let frames: Vec<Vec<f64>> = (0..2).map(|_| samples(&sensor.expose().unwrap())).collect();
    let electrons = f64::from(model::FULL_WELL) / 2.0;
    let dn = f64::from(model::DN_PER_ELECTRON);
    let expected_mean = f64::from(model::BLACK_LEVEL) + dn * electrons;
    assert!((mean(&frames[0]) - expected_mean).abs() < 1.0, "{}", mean(&frames[0]));
    // The difference of two frames holds the noise of both, and no fixed pattern.
    let temporal = spread(frames[0].iter().zip(&frames[1]).map(|(a, b)| a - b)) / 2_f64.sqrt();
    let expected = dn * (electrons + 9.0).sqrt();
    assert!((temporal / expected - 1.0).abs() < 0.05, "{temporal} {expected}");
    // What two frames share is the fixed pattern.
    let centred = |frame: &[f64]| frame.iter().map(|v| v - expected_mean).collect::<Vec<_>>();
    let products: Vec<f64> = centred(&frames[0]).iter().zip(centred(&frames[1])).map(|(a, b)| a * b).collect();
    let prnu = mean(&products).sqrt() / (dn * electrons);
    assert!((prnu / f64::from(model::PRNU) - 1.0).abs() < 0.15, "{prnu}");
}

#[test]
fn few_sites_are_warm_and_they_stay_warm() {
    let seed = DeviceSeed::from_label("warm");
    let size = FrameSize::new(1024, 1024).unwrap();
    let config = SimulatedConfig { seed, size, scene: Scene::Flat(0.0), first_frame: 0 };
    let mut sensor = SimulatedImx477::new(config).unwrap();
    let warm = |exposure: &Exposure| {
        let values = samples(exposure).into_iter().enumerate();
        values.filter(|(_, value)| *value > 256.3 + 17.0).map(|(place, _)| place).collect::<Vec<_>>()
    };
    let first = warm(&sensor.expose().unwrap());
    assert!((12..60).contains(&first.len()), "30 ppm of a million, not {}", first.len());
    assert_eq!(first, warm(&sensor.expose().unwrap()));
}

#[test]
fn too_much_light_saturates() {
    let mut sensor = sensor("a", Scene::Flat(1.0), 0);
    let exposure = sensor.expose().unwrap();
    let values = samples(&exposure);
    assert!(values.iter().all(|value| *value <= 4095.0));
    assert!(values.iter().filter(|value| **value >= 4094.0).count() > values.len() / 4);
    assert_eq!(exposure.raw.format().bits(), 12);
}

#[test]
fn impossible_light_is_refused() {
    for light in [-0.1, 1.1, f32::NAN, f32::INFINITY] {
        let config = SimulatedConfig {
            seed: DeviceSeed::from_label("a"),
            size: FrameSize::new(16, 16).unwrap(),
            scene: Scene::Flat(light),
            first_frame: 0,
        };
        assert!(matches!(SimulatedImx477::new(config), Err(SceneError::Light(_))), "{light}");
    }
}

#[test]
fn nuc_hash_is_the_documented_one_and_the_seed_stays_hidden() {
    let seed = DeviceSeed::from_bytes([7; 32]);
    // printf 'birthmark/nuc/v1simulated-imx477%s' "$(printf '\7%.0s' {1..32})" | sha256sum
    assert_eq!(nuc_hash(&seed).to_string(), NUC_HASH_OF_SEVENS);
    assert_ne!(nuc_hash(&seed), nuc_hash(&DeviceSeed::from_bytes([8; 32])));
    assert_eq!(format!("{seed:?}"), "DeviceSeed(redacted)");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn every_even_size_works(width in 8_u32..60, height in 8_u32..60, frame: u64) {
        let size = FrameSize::new(width * 2, height * 2).unwrap();
        let seed = DeviceSeed::from_label("size");
        let config = SimulatedConfig { seed, size, scene: Scene::Procedural, first_frame: frame.min(u64::MAX - 1) };
        let exposure = SimulatedImx477::new(config).unwrap().expose().unwrap();
        prop_assert_eq!(exposure.raw.canonical_bytes().len(), size.bytes());
    }
}

const NUC_HASH_OF_SEVENS: &str = "1fc21bc604af832ab7a835e7a9991c09bb6aa521417c0612b8ce6b6381e5ec1e";

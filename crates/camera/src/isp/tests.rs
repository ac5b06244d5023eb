use super::*;
use crate::raw_frame::{CfaOrder, ColourProfile, RawFormat};

/// A frame of the samples that an ideal sensor gives for a picture in linear sRGB.
fn ideal(size: FrameSize, cfa: CfaOrder, picture: impl Fn(usize, usize) -> [f32; 3]) -> RawFrame {
    let colour = ColourProfile::IMX477_4559K;
    let to_sensor = colour.srgb_to_sensor().unwrap();
    let (black, white) = (256.0, 4095_u16);
    let places = (0..size.height()).flat_map(|y| (0..size.width()).map(move |x| (x, y)));
    let bytes = places.flat_map(|(x, y)| {
        let weights = to_sensor[cfa.channel(x, y) as usize];
        let light: f32 = weights.iter().zip(picture(x, y)).map(|(weight, value)| weight * value).sum();
        let value = black + light * (f32::from(white) - black);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "light is from 0 to 1")]
        let value = value.round() as u16;
        value.to_le_bytes()
    });
    RawFrame::new(RawFormat { size, cfa, black: [black; 4], white, colour }, bytes.collect()).unwrap()
}

const ORDERS: [CfaOrder; 4] = [CfaOrder::Rggb, CfaOrder::Grbg, CfaOrder::Gbrg, CfaOrder::Bggr];

#[test]
fn even_colours_come_out_exactly_for_every_order_of_the_mosaic() {
    let size = FrameSize::new(34, 18).unwrap();
    for srgb in [[128, 128, 128], [255, 255, 255], [0, 0, 0], [200, 60, 30], [20, 90, 200], [40, 160, 60]] {
        let linear = srgb.map(|value: u8| crate::colour::srgb_to_linear(f32::from(value) / 255.0));
        for cfa in ORDERS {
            for pixel in develop(&ideal(size, cfa, |_, _| linear)).pixels {
                let off = pixel.iter().zip(srgb).map(|(a, b)| a.abs_diff(b)).max().unwrap();
                assert!(off <= 2, "{srgb:?} became {pixel:?} for {cfa:?}");
            }
        }
    }
}

#[test]
fn grey_slope_stays_grey_and_linear_interpolation_is_exact_inside() {
    let size = FrameSize::new(64, 32).unwrap();
    let slope = |x: usize, _| [0.1 + 0.01 * f32::from(u16::try_from(x).unwrap()); 3];
    for cfa in ORDERS {
        let image = develop(&ideal(size, cfa, slope));
        for (place, [r, g, b]) in image.pixels.iter().enumerate() {
            let x = place % 64;
            let expected = eight_bits(linear_to_srgb(slope(x, 0)[0]));
            if (2..62).contains(&x) {
                assert!(g.abs_diff(*r) <= 2 && g.abs_diff(*b) <= 2, "{x}: {r} {g} {b}");
                assert!(g.abs_diff(expected) <= 2, "{x}: {g} {expected}");
            }
        }
    }
}

#[test]
fn saturated_highlights_are_white_not_magenta() {
    let size = FrameSize::new(16, 16).unwrap();
    let format = *ideal(size, CfaOrder::Bggr, |_, _| [0.0; 3]).format();
    let bytes = [0xff, 0x0f].repeat(size.samples());
    let image = develop(&RawFrame::new(format, bytes).unwrap());
    assert!(image.pixels.iter().all(|pixel| *pixel == [255; 3]), "{:?}", image.pixels[0]);
}

#[test]
fn samples_beyond_the_white_level_do_no_harm() {
    let size = FrameSize::new(16, 16).unwrap();
    let format = *ideal(size, CfaOrder::Rggb, |_, _| [0.0; 3]).format();
    let bytes = (0..size.samples()).flat_map(|place| if place % 7 == 0 { [0xff; 2] } else { [0; 2] });
    let image = develop(&RawFrame::new(format, bytes.collect()).unwrap());
    assert_eq!(image.pixels.len(), size.samples());
}

#[test]
fn rows_developed_alone_are_the_rows_of_the_whole() {
    let size = FrameSize::new(48, 200).unwrap();
    let wave = |x: usize, y: usize| {
        let place = f32::from(u16::try_from(x * 7 + y * 3).unwrap());
        [(place * 0.1).sin() * 0.4 + 0.5, (place * 0.07).cos() * 0.4 + 0.5, 0.3]
    };
    let frame = ideal(size, CfaOrder::Bggr, wave);
    let whole = develop(&frame).pixels;
    let developer = Developer::new(&frame);
    for (first, count) in [(0, 1), (1, 3), (63, 2), (197, 3), (0, 200)] {
        let mut part = vec![[0; 3]; 48 * count];
        developer.rows(first, &mut part);
        assert_eq!(part, whole[first * 48..(first + count) * 48], "{first}");
    }
}

#[test]
fn edges_are_mirrored_in_step_with_the_mosaic() {
    assert_eq!([0, 1, 2, 3].map(|place| mirrored(place, 16)), [2, 1, 0, 1]);
    assert_eq!([16, 17, 18, 19].map(|place| mirrored(place, 16)), [14, 15, 14, 13]);
}

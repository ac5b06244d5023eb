//! Colour arithmetic that the image pipeline and the simulated sensor share.
//!
//! For: what a sensor's colours mean, 3 x 3 matrices, and the transfer curve of sRGB (IEC 61966-2-1).
//!
//! Not for: pixels: `isp` makes a picture of a raw frame, `sensor::simulated` the reverse.

/// Rows of a 3 x 3 matrix.
pub(crate) type Matrix = [[f32; 3]; 3];

/// How a sensor sees colour under one light.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColourProfile {
    /// What the sensor reads, black level taken off, for a white thing: red, green, blue; green is 1.
    pub neutral: [f32; 3],
    /// From white-balanced sensor colours to linear sRGB; each row adds up to 1.
    pub to_srgb: [[f32; 3]; 3],
}

impl ColourProfile {
    /// The IMX477 in light of 4559 K. The matrix is the one that Raspberry Pi's tuning file gives;
    /// the neutral is typical of its white-balance curve there.
    pub const IMX477_4559K: Self = Self {
        neutral: [0.361, 1.0, 0.671],
        to_srgb: [[2.154, -0.981, -0.173], [-0.381, 2.148, -0.767], [-0.101, -0.544, 1.645]],
    };

    /// Sensor colours taken for sRGB: where nothing is known about them.
    pub const UNKNOWN: Self = Self { neutral: [1.0; 3], to_srgb: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]] };

    /// From linear sRGB to what the sensor reads; nothing if the profile makes no sense.
    pub(crate) fn srgb_to_sensor(&self) -> Option<Matrix> {
        let mut matrix = invert(&self.to_srgb)?;
        for (row, neutral) in matrix.iter_mut().zip(self.neutral) {
            *row = row.map(|value| value * neutral);
        }
        Some(matrix)
    }

    /// DNG's `ColorMatrix1` for the illuminant D65: from CIE XYZ to what the sensor reads.
    pub(crate) fn dng_matrix(&self) -> Option<Matrix> {
        self.srgb_to_sensor().map(|matrix| multiply(&matrix, &XYZ_TO_SRGB))
    }

    /// The profile that a DNG's `AsShotNeutral` and `ColorMatrix1` describe; nothing if they make no sense.
    pub(crate) fn from_dng(neutral: [f32; 3], matrix: &Matrix) -> Option<Self> {
        if !neutral.iter().all(|value| value.is_finite() && *value > 0.0) {
            return None;
        }
        let mut srgb_to_balanced = multiply(matrix, &invert(&XYZ_TO_SRGB)?);
        for (row, neutral) in srgb_to_balanced.iter_mut().zip(neutral) {
            *row = row.map(|value| value / neutral);
        }
        Some(Self { neutral, to_srgb: invert(&srgb_to_balanced)? })
    }
}

/// The product `a b`.
pub(crate) fn multiply(a: &Matrix, b: &Matrix) -> Matrix {
    a.map(|row| std::array::from_fn(|column| (0..3).map(|k| row[k] * b[k][column]).sum()))
}

/// The inverse, or nothing for a matrix that has none worth using.
pub(crate) fn invert(m: &Matrix) -> Option<Matrix> {
    let cofactor = |r: usize, c: usize| {
        let [r1, r2, c1, c2] = [(r + 1) % 3, (r + 2) % 3, (c + 1) % 3, (c + 2) % 3];
        m[r1][c1] * m[r2][c2] - m[r1][c2] * m[r2][c1]
    };
    let determinant: f32 = (0..3).map(|c| m[0][c] * cofactor(0, c)).sum();
    let usable = determinant.is_finite() && determinant.abs() > 1e-6;
    usable.then(|| std::array::from_fn(|r| std::array::from_fn(|c| cofactor(c, r) / determinant)))
}

/// Linear light of an sRGB value, both from 0 to 1.
pub(crate) fn srgb_to_linear(value: f32) -> f32 {
    if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
}

/// The sRGB value of linear light, both from 0 to 1.
pub(crate) fn linear_to_srgb(light: f32) -> f32 {
    if light <= 0.003_130_8 { light * 12.92 } else { 1.055 * light.powf(1.0 / 2.4) - 0.055 }
}

/// From CIE XYZ to linear sRGB, white D65 (IEC 61966-2-1).
const XYZ_TO_SRGB: Matrix =
    [[3.240_625, -1.537_208, -0.498_629], [-0.968_931, 1.875_756, 0.041_518], [0.055_71, -0.204_021, 1.056_996]];

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: &Matrix, b: &Matrix, tolerance: f32) -> bool {
        a.iter().flatten().zip(b.iter().flatten()).all(|(a, b)| (a - b).abs() < tolerance)
    }

    #[test]
    fn inverse_undoes_and_singular_matrices_have_none() {
        let matrix = ColourProfile::IMX477_4559K.to_srgb;
        assert!(close(&multiply(&matrix, &invert(&matrix).unwrap()), &ColourProfile::UNKNOWN.to_srgb, 1e-5));
        assert_eq!(invert(&[[1.0, 2.0, 3.0]; 3]), None);
        assert_eq!(invert(&[[f32::NAN; 3]; 3]), None);
    }

    #[test]
    fn white_reads_as_the_neutral() {
        let profile = ColourProfile::IMX477_4559K;
        let white = profile.srgb_to_sensor().unwrap().map(|row| row.iter().sum::<f32>());
        for (read, neutral) in white.iter().zip(profile.neutral) {
            assert!((read - neutral).abs() < 1e-3, "{white:?}");
        }
    }

    #[test]
    fn dng_matrix_gives_the_profile_back() {
        let profile = ColourProfile::IMX477_4559K;
        let back = ColourProfile::from_dng(profile.neutral, &profile.dng_matrix().unwrap()).unwrap();
        assert!(close(&back.to_srgb, &profile.to_srgb, 1e-3), "{back:?}");
        assert_eq!(ColourProfile::from_dng([0.0, 1.0, 1.0], &profile.to_srgb), None);
    }

    #[test]
    fn transfer_curves_are_inverse_to_each_other() {
        for step in 0..=255_u8 {
            let value = f32::from(step) / 255.0;
            assert!((linear_to_srgb(srgb_to_linear(value)) - value).abs() < 1e-5, "{step}");
        }
    }
}

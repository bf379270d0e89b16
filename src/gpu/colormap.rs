//! Colour maps and modality hues: the points that go to the shaders with their uniforms, and the same arithmetic in
//! plain Rust for legends, text shading and tests. Knows nothing of pipelines or of what is coloured.

/// A perceptually even, colour-blind-safe sequential colour map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ColorMap {
    /// Dark purple to yellow.
    Viridis,
    /// Black over purple to pale yellow.
    #[default]
    Magma,
    /// Dark blue to yellow, the same to most colour-blind readers.
    Cividis,
}

/// Which sense a token belongs to; each has a hue and a letter, so that hue is never alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Modality {
    /// Picture tokens.
    Video,
    /// Sound tokens.
    Audio,
    /// Words and everything else.
    Text,
}

impl Modality {
    /// All three, in the order they are always shown.
    pub const ALL: [Self; 3] = [Self::Video, Self::Audio, Self::Text];

    /// Okabe–Ito sky blue, orange and bluish green (readable on a dark ground), gamma-encoded RGB in 0…1.
    pub const fn hue(self) -> [f32; 3] {
        match self {
            Self::Video => [0.337, 0.706, 0.914],
            Self::Audio => [0.902, 0.624, 0.0],
            Self::Text => [0.0, 0.620, 0.451],
        }
    }

    /// The letter that goes with the hue.
    pub const fn letter(self) -> &'static str {
        match self {
            Self::Video => "V",
            Self::Audio => "A",
            Self::Text => "T",
        }
    }

    /// The word that goes with the hue.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Video => "Video",
            Self::Audio => "Audio",
            Self::Text => "Text",
        }
    }
}

impl ColorMap {
    /// All maps, in the order in which they are offered.
    pub const ALL: [Self; 3] = [Self::Viridis, Self::Magma, Self::Cividis];

    /// Its usual name.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Viridis => "Viridis",
            Self::Magma => "Magma",
            Self::Cividis => "Cividis",
        }
    }

    fn table(self) -> &'static [[f32; 3]; POINTS] {
        match self {
            Self::Viridis => &VIRIDIS,
            Self::Magma => &MAGMA,
            Self::Cividis => &CIVIDIS,
        }
    }

    /// The points as the shaders take them, gamma-encoded RGB in 0…1 and nothing.
    pub fn points(self) -> ColorPoints {
        self.table().map(|[r, g, b]| [r, g, b, 0.0])
    }

    /// The gamma-encoded RGB (0…1) at `t`, clamped to 0…1.
    pub fn rgb(self, t: f32) -> [f32; 3] {
        let table = self.table();
        let x = t.clamp(0.0, 1.0) * (POINTS - 1) as f32;
        let index = (x as usize).min(POINTS - 2);
        let f = x - index as f32;
        std::array::from_fn(|c| table[index][c] * (1.0 - f) + table[index + 1][c] * f)
    }
}

/// Points per table.
const POINTS: usize = 33;

/// A colour map in a uniform.
pub type ColorPoints = [[f32; 4]; POINTS];

// Sampled at even points (viridis and magma by S. van der Walt and N. Smith, cividis by J. Nunez, C. Anderton and
// R. Renslow), linear between.
const VIRIDIS: [[f32; 3]; POINTS] = [
    [0.267, 0.005, 0.329],
    [0.277, 0.050, 0.376],
    [0.282, 0.095, 0.417],
    [0.283, 0.135, 0.453],
    [0.279, 0.175, 0.483],
    [0.271, 0.213, 0.507],
    [0.259, 0.251, 0.524],
    [0.245, 0.287, 0.537],
    [0.230, 0.321, 0.545],
    [0.215, 0.354, 0.551],
    [0.200, 0.386, 0.555],
    [0.186, 0.417, 0.557],
    [0.173, 0.447, 0.558],
    [0.161, 0.477, 0.558],
    [0.150, 0.506, 0.557],
    [0.138, 0.536, 0.555],
    [0.128, 0.565, 0.551],
    [0.121, 0.594, 0.544],
    [0.120, 0.624, 0.534],
    [0.131, 0.653, 0.521],
    [0.155, 0.682, 0.503],
    [0.193, 0.710, 0.481],
    [0.241, 0.737, 0.455],
    [0.299, 0.762, 0.423],
    [0.363, 0.787, 0.387],
    [0.433, 0.809, 0.345],
    [0.508, 0.829, 0.299],
    [0.587, 0.847, 0.249],
    [0.669, 0.862, 0.195],
    [0.753, 0.875, 0.143],
    [0.836, 0.886, 0.102],
    [0.917, 0.896, 0.101],
    [0.993, 0.906, 0.144],
];
const MAGMA: [[f32; 3]; POINTS] = [
    [0.001, 0.000, 0.014],
    [0.014, 0.012, 0.068],
    [0.039, 0.031, 0.133],
    [0.074, 0.052, 0.202],
    [0.112, 0.065, 0.276],
    [0.158, 0.068, 0.351],
    [0.210, 0.062, 0.417],
    [0.264, 0.060, 0.461],
    [0.315, 0.071, 0.485],
    [0.364, 0.090, 0.498],
    [0.413, 0.110, 0.504],
    [0.461, 0.129, 0.508],
    [0.511, 0.147, 0.508],
    [0.560, 0.165, 0.505],
    [0.611, 0.181, 0.499],
    [0.662, 0.197, 0.490],
    [0.713, 0.214, 0.476],
    [0.764, 0.232, 0.459],
    [0.814, 0.254, 0.438],
    [0.860, 0.281, 0.414],
    [0.901, 0.316, 0.390],
    [0.935, 0.361, 0.370],
    [0.959, 0.414, 0.360],
    [0.976, 0.471, 0.363],
    [0.986, 0.530, 0.380],
    [0.992, 0.589, 0.407],
    [0.996, 0.648, 0.442],
    [0.997, 0.706, 0.483],
    [0.997, 0.763, 0.530],
    [0.995, 0.821, 0.580],
    [0.993, 0.878, 0.634],
    [0.990, 0.935, 0.690],
    [0.987, 0.991, 0.750],
];
const CIVIDIS: [[f32; 3]; POINTS] = [
    [0.000, 0.135, 0.305],
    [0.000, 0.158, 0.357],
    [0.000, 0.179, 0.414],
    [0.017, 0.198, 0.441],
    [0.102, 0.220, 0.436],
    [0.153, 0.242, 0.430],
    [0.194, 0.264, 0.426],
    [0.230, 0.286, 0.424],
    [0.263, 0.307, 0.423],
    [0.294, 0.329, 0.424],
    [0.323, 0.350, 0.426],
    [0.352, 0.372, 0.430],
    [0.380, 0.394, 0.435],
    [0.407, 0.416, 0.442],
    [0.434, 0.439, 0.451],
    [0.460, 0.461, 0.461],
    [0.487, 0.484, 0.471],
    [0.516, 0.507, 0.473],
    [0.546, 0.530, 0.472],
    [0.576, 0.554, 0.469],
    [0.607, 0.578, 0.464],
    [0.638, 0.602, 0.457],
    [0.669, 0.627, 0.449],
    [0.701, 0.652, 0.438],
    [0.733, 0.678, 0.425],
    [0.766, 0.704, 0.410],
    [0.799, 0.731, 0.392],
    [0.833, 0.759, 0.371],
    [0.867, 0.786, 0.346],
    [0.902, 0.815, 0.317],
    [0.937, 0.844, 0.281],
    [0.973, 0.874, 0.234],
    [0.996, 0.909, 0.218],
];

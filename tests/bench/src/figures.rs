// SPDX-License-Identifier: GPL-2.0

//! What was measured.

use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
pub struct Figure {
    pub case: String,
    /// How many connections or keys there were.
    pub n: u32,
    /// Instructions for a packet in one rule: the mean without the dearest tenth.
    pub typical: Option<f64>,
    /// The mean of all.
    pub mean: Option<f64>,
    /// The dearest.
    pub worst: Option<f64>,
    pub bytes: Option<f64>,
    /// How many bytes there were before.
    pub before: Option<f64>,
}

pub struct Figures {
    pub rs: Vec<Figure>,
    pub in_tree: Vec<Figure>,
}

/// One of a figure's values.
pub type Value = fn(&Figure) -> Option<f64>;

pub fn find(figures: &[Figure], case: &str, n: u32, value: Value) -> Option<f64> {
    figures
        .iter()
        .find(|figure| figure.case == case && figure.n == n)
        .and_then(value)
}

// SPDX-License-Identifier: GPL-2.0

//! The curves.

use anyhow::{anyhow, ensure, Result};
use plotters::prelude::*;

use crate::figures::{Figure, Figures};

const SIZE: (u32, u32) = (640, 400);
const FONT: (&str, u32) = ("sans-serif", 14);

/// Draws what a packet of `case` costs against the number of `what`, both on a logarithmic scale.
pub fn draw(what: &str, case: &str, figures: &Figures) -> Result<String> {
    let points = |figures: &[Figure]| -> Vec<(f64, f64)> {
        figures
            .iter()
            .filter(|figure| figure.case == case)
            .filter_map(|figure| Some((f64::from(figure.n), figure.typical?.max(1.0))))
            .collect()
    };
    let (rs, in_tree) = (points(&figures.rs), points(&figures.in_tree));
    let all = || rs.iter().chain(&in_tree);
    ensure!(all().count() > 0, "there are no figures for {case}");
    let least = all().map(|point| point.0).fold(f64::INFINITY, f64::min);
    let most = all().map(|point| point.0).fold(0.0, f64::max);
    let dearest = all().map(|point| point.1).fold(0.0, f64::max);

    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let error = |error| anyhow!("cannot draw: {error}");
        area.fill(&WHITE).map_err(error)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(16)
            .x_label_area_size(36)
            .y_label_area_size(84)
            .build_cartesian_2d(
                (least..most * 1.1).log_scale(),
                (100.0..dearest * 2.0).log_scale(),
            )
            .map_err(error)?;
        chart
            .configure_mesh()
            .x_desc(what)
            .y_desc("instructions for a new connection")
            .label_style(FONT)
            .axis_desc_style(FONT)
            .draw()
            .map_err(error)?;
        for (name, points, colour) in [("rs", rs, BLUE), ("in-tree", in_tree, RED)] {
            chart
                .draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))
                .map_err(error)?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
            chart
                .draw_series(
                    points
                        .iter()
                        .map(|&point| Circle::new(point, 4, colour.filled())),
                )
                .map_err(error)?;
        }
        chart
            .configure_series_labels()
            .border_style(BLACK)
            .background_style(WHITE)
            .label_font(FONT)
            .draw()
            .map_err(error)?;
        area.present().map_err(error)?;
    }
    Ok(svg)
}

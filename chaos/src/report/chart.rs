//! The timeline: operations a second, latencies, leaders and faults, one above the other over the same time. SVG whose
//! colours are the page's.

use std::fmt::Write as _;

use crate::schedule::fault::{Kind, Layer};

use super::{Done, Figures, Outcomes, SECOND, Second, page::escaped, text::time};

const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
const RATE_TOP: f64 = 22.0;
const RATE_HEIGHT: f64 = 150.0;
const LATENCY_TOP: f64 = 204.0;
const LATENCY_HEIGHT: f64 = 150.0;
const LEADER_TOP: f64 = 386.0;
const LEADER_HEIGHT: f64 = 20.0;
const FAULT_TOP: f64 = 438.0;
const LANE: f64 = 20.0;

/// Where a time is, and how much of it one column shows.
struct Scale {
    width: f64,
    seconds: f64,
    column: usize,
}

impl Scale {
    fn of(figures: &Figures) -> Self {
        let seconds = (figures.end_ns as f64 / SECOND as f64).max(1.0);
        // A long run gets a wide chart, which scrolls.
        let width = (seconds * 1.5).clamp(1000.0, 6000.0);
        let columns = (width - LEFT - RIGHT) / 3.0;
        Self { width, seconds, column: ((seconds / columns).ceil() as usize).max(1) }
    }

    fn x(&self, ns: u64) -> f64 {
        self.at(ns as f64 / SECOND as f64)
    }

    fn at(&self, seconds: f64) -> f64 {
        LEFT + (self.width - LEFT - RIGHT) * (seconds / self.seconds).min(1.0)
    }
}

/// A round number of about this size: 1, 2 or 5 times a power of ten.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.max(1.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * power).find(|step| *step >= value).unwrap_or(power)
}

/// The whole chart.
pub(super) fn timeline(figures: &Figures) -> String {
    let scale = Scale::of(figures);
    let lanes = lanes(&figures.faults);
    let count = lanes.iter().max().map_or(1, |last| last + 1) as f64;
    let bottom = FAULT_TOP + count * LANE + 6.0;
    let mut svg = format!(
        "<svg role=\"img\" aria-label=\"Timeline of the run\" width=\"{0:.0}\" height=\"{1:.0}\" viewBox=\"0 0 {0:.0} {1:.0}\">",
        scale.width,
        bottom + 24.0
    );
    for fault in &figures.faults {
        let (from, to) = (scale.x(fault.from_ns), scale.x(fault.to_ns));
        let _ = write!(
            svg,
            "<rect class=\"shade {}\" x=\"{from:.1}\" y=\"{RATE_TOP}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            group(&fault.kind),
            (to - from).max(1.0),
            FAULT_TOP - RATE_TOP - 12.0
        );
    }
    let step = round_up(scale.seconds / (scale.width / 120.0));
    let mut at = 0.0;
    while at <= scale.seconds {
        let x = scale.at(at);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{RATE_TOP}\" y2=\"{bottom:.1}\"/>\
             <text class=\"tick\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"{:.1}\">{at:.0} s</text>",
            bottom + 15.0
        );
        at += step;
    }
    rates(&mut svg, figures, &scale);
    latencies(&mut svg, figures, &scale);
    leaders(&mut svg, figures, &scale);
    faults(&mut svg, figures, &scale, &lanes);
    svg + "</svg>"
}

fn title(svg: &mut String, y: f64, text: &str) {
    let _ = write!(svg, "<text class=\"head\" x=\"{LEFT}\" y=\"{:.1}\">{text}</text>", y - 7.0);
}

fn level(svg: &mut String, scale: &Scale, y: f64, label: &str) {
    let _ = write!(
        svg,
        "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
         <text class=\"tick\" text-anchor=\"end\" x=\"{:.1}\" y=\"{:.1}\">{label}</text>",
        scale.width - RIGHT,
        LEFT - 6.0,
        y + 4.0
    );
}

/// The columns of the chart: from which second, and what those of it came to.
fn columns<'a>(figures: &'a Figures, scale: &Scale) -> impl Iterator<Item = (f64, &'a [Second])> {
    let column = scale.column;
    figures.seconds.chunks(column).enumerate().map(move |(index, seconds)| ((index * column) as f64, seconds))
}

fn rates(svg: &mut String, figures: &Figures, scale: &Scale) {
    let of = |seconds: &[Second]| {
        let mut all = Outcomes::default();
        seconds.iter().for_each(|second| all.add(second.outcomes));
        let rate = |count: u64| count as f64 / seconds.len() as f64;
        [rate(all.ok), rate(all.unknown), rate(all.failed)]
    };
    let most =
        columns(figures, scale).map(|(_, seconds)| of(seconds).iter().sum::<f64>()).fold(1.0, f64::max);
    let most = round_up(most);
    title(
        svg,
        RATE_TOP,
        "operations a second: <tspan class=\"ok\">ok</tspan>, <tspan class=\"unknown\">unknown</tspan>, <tspan class=\"failed\">failed</tspan>",
    );
    for share in [0.0, 0.5, 1.0] {
        level(svg, scale, RATE_TOP + RATE_HEIGHT * (1.0 - share), &format!("{:.0}", most * share));
    }
    for (from, seconds) in columns(figures, scale) {
        let (x, to) = (scale.at(from), scale.at(from + scale.column as f64));
        let mut y = RATE_TOP + RATE_HEIGHT;
        for (class, rate) in ["ok", "unknown", "failed"].into_iter().zip(of(seconds)) {
            let height = RATE_HEIGHT * rate / most;
            if height > 0.0 {
                y -= height;
                let _ = write!(
                    svg,
                    "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\"/>",
                    (to - x - 0.5).max(0.5)
                );
            }
        }
    }
}

fn latencies(svg: &mut String, figures: &Figures, scale: &Scale) {
    title(
        svg,
        LATENCY_TOP,
        "latency: <tspan class=\"p50\">p50</tspan>, <tspan class=\"p99\">p99</tspan> of what was answered",
    );
    let at = |seconds: &[Second], share: f64| {
        let mut all = seconds.first()?.latencies.clone();
        for second in &seconds[1..] {
            all.add(&second.latencies).ok()?;
        }
        (!all.is_empty()).then(|| all.value_at_quantile(share).max(1) as f64)
    };
    let points = |share: f64| -> Vec<(f64, Option<f64>)> {
        columns(figures, scale)
            .map(|(from, seconds)| (from + scale.column as f64 / 2.0, at(seconds, share)))
            .collect()
    };
    let lines = [("p99", points(0.99)), ("p50", points(0.5))];
    let values = || lines.iter().flat_map(|(_, points)| points).filter_map(|(_, value)| *value);
    // Powers of ten, in microseconds.
    let low = values().fold(f64::MAX, f64::min).clamp(1.0, 1e6).log10().floor();
    let high = values().fold(10.0, f64::max).log10().ceil().max(low + 1.0);
    let y = |us: f64| LATENCY_TOP + LATENCY_HEIGHT * (1.0 - (us.log10() - low) / (high - low));
    let mut power = low;
    while power <= high {
        let us = 10_f64.powf(power);
        level(svg, scale, y(us), &time((us * 1000.0) as u64));
        power += 1.0;
    }
    for (class, points) in lines {
        let mut path = String::new();
        let mut drawing = false;
        for (second, value) in points {
            // Where nothing was answered, there is no line.
            if let Some(us) = value {
                let _ =
                    write!(path, "{}{:.1},{:.1}", if drawing { 'L' } else { 'M' }, scale.at(second), y(us));
            }
            drawing = value.is_some();
        }
        let _ = write!(svg, "<path class=\"line {class}\" d=\"{path}\"/>");
    }
}

fn leaders(svg: &mut String, figures: &Figures, scale: &Scale) {
    title(svg, LEADER_TOP, "leader");
    for reign in &figures.reigns {
        let (from, to) = (scale.x(reign.from_ns), scale.x(reign.to_ns));
        let width = (to - from).max(1.0);
        let (class, name) = match reign.node {
            Some(node) => (format!("leader n{}", node % 5), format!("node {node}")),
            None => ("leader none".to_owned(), "nobody".to_owned()),
        };
        let _ = write!(
            svg,
            "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{LEADER_TOP}\" width=\"{width:.1}\" height=\"{LEADER_HEIGHT}\">\
             <title>{name}, term {}, {} to {}</title></rect>",
            reign.term,
            time(reign.from_ns),
            time(reign.to_ns)
        );
        label(svg, from, LEADER_TOP, width, &name);
    }
}

fn faults(svg: &mut String, figures: &Figures, scale: &Scale, lanes: &[usize]) {
    title(svg, FAULT_TOP, "faults; outlined: nothing showed that it took effect");
    for (fault, lane) in figures.faults.iter().zip(lanes) {
        let (from, to) = (scale.x(fault.from_ns), scale.x(fault.to_ns));
        let (y, width) = (FAULT_TOP + *lane as f64 * LANE, (to - from).max(2.0));
        let nodes: Vec<String> = fault.nodes.iter().map(u64::to_string).collect();
        let proof = fault.proof.as_deref().unwrap_or("nothing showed that it took effect");
        let hollow = if fault.proof.is_none() { " hollow" } else { "" };
        let _ = write!(
            svg,
            "<rect class=\"fault {}{hollow}\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\">\
             <title>{}: {} of node {}, {} to {}; writes stopped for {}; {}</title></rect>",
            group(&fault.kind),
            LANE - 3.0,
            fault.fault,
            escaped(&fault.kind),
            nodes.join(" and "),
            time(fault.from_ns),
            time(fault.to_ns),
            time(fault.gap_ns),
            escaped(proof)
        );
        label(svg, from, y - 1.0, width, &fault.kind);
    }
}

/// A name on a bar, if it has room there.
fn label(svg: &mut String, x: f64, y: f64, width: f64, text: &str) {
    if width > text.len() as f64 * 6.3 + 6.0 {
        let _ = write!(
            svg,
            "<text class=\"label\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            x + 4.0,
            y + 14.0,
            escaped(text)
        );
    }
}

/// The lane of each fault: those that last at the same time are in different ones.
fn lanes(faults: &[Done]) -> Vec<usize> {
    let mut ends: Vec<u64> = Vec::new();
    faults
        .iter()
        .map(|fault| {
            let free = ends.iter().position(|end| *end <= fault.from_ns).unwrap_or(ends.len());
            if free == ends.len() {
                ends.push(0);
            }
            ends[free] = fault.to_ns;
            free
        })
        .collect()
}

/// What a fault is done to, for its colour.
fn group(kind: &str) -> &'static str {
    let layer = kind.parse::<Kind>().ok().and_then(|kind| kind.layers().first().copied());
    match layer {
        Some(Layer::Process) => "process",
        Some(Layer::Network) => "network",
        Some(Layer::Disk | Layer::Data) => "disk",
        Some(Layer::Clock | Layer::Share) => "machine",
        Some(Layer::Members) | None => "members",
    }
}

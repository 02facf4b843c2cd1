//! The page to look at: one file of HTML, which fetches nothing and runs nothing.

use std::fmt::Write as _;

use super::{
    Report, chart,
    text::{FAULTS, NODES, OPERATIONS, faults, headline, nodes, operations, outline, remarks},
};

const STYLE: &str = include_str!("page.css");

/// Text as HTML shows it.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

pub(super) fn page(report: &Report<'_>) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>Chaos, seed {seed}</title><style>{STYLE}</style></head><body><main>\n\
         <h1>Chaos, seed {seed}</h1>\n<p class=\"verdict {class}\">{headline}</p>\n<p>{outline}</p>\n",
        seed = report.figures.seed,
        class = if report.is_good() && report.without_proof.is_empty() { "good" } else { "bad" },
        headline = headline(report),
        outline = outline(report),
    );
    let _ = writeln!(
        html,
        "<div class=\"wide\">{}</div>\n<p class=\"key\"><i class=\"fault process\"></i>process <i class=\"fault network\"></i>network \
         <i class=\"fault disk\"></i>disk <i class=\"fault machine\"></i>clock and machine <i class=\"fault members\"></i>members</p>",
        chart::timeline(report.figures)
    );
    table(&mut html, &FAULTS, &faults(report.figures.faults_by_kind()));
    table(&mut html, &OPERATIONS, &operations(report));
    table(&mut html, &NODES, &nodes(report));
    html += "<h2>What was judged</h2>\n";
    for (checker, verdict) in report.verdicts {
        let judged: Vec<String> =
            verdict.judged.iter().map(|(what, count)| format!("{count} {what}")).collect();
        let _ = writeln!(html, "<p>{}: {}.</p>", escaped(checker), escaped(&judged.join(", ")));
    }
    if report.verdicts.iter().any(|(_, verdict)| !verdict.is_good()) {
        html += "<h2>What was wrong</h2>\n";
    }
    for (_, verdict) in report.verdicts {
        for (rule, count) in &verdict.broken {
            let _ = writeln!(html, "<p>{}: {count} times.</p>", rule.broken());
        }
    }
    for offence in report.offences {
        let _ = writeln!(html, "<h3>{}</h3>\n<pre>", escaped(&offence.violation.to_string()));
        for operation in &offence.operations {
            let line = serde_json::to_string(operation).unwrap_or_default();
            let _ = writeln!(html, "{}", escaped(&line));
        }
        html += "</pre>\n";
    }
    for (what, lines) in remarks(report).into_iter().filter(|(_, lines)| !lines.is_empty()) {
        let _ = write!(html, "<h2>{}</h2>\n<ul>", capitalized(what));
        for line in lines {
            let _ = write!(html, "<li>{}</li>", escaped(line));
        }
        html += "</ul>\n";
    }
    html + "</main></body></html>\n"
}

fn capitalized(text: &str) -> String {
    text[..1].to_uppercase() + &text[1..]
}

fn table(html: &mut String, heads: &[&str], rows: &[Vec<String>]) {
    if rows.is_empty() {
        return;
    }
    *html += "<div class=\"wide\"><table><thead><tr>";
    for head in heads {
        let _ = write!(html, "<th>{}</th>", escaped(head));
    }
    *html += "</tr></thead><tbody>";
    for row in rows {
        *html += "<tr>";
        for cell in row {
            let _ = write!(html, "<td>{}</td>", escaped(cell));
        }
        *html += "</tr>";
    }
    *html += "</tbody></table></div>\n";
}

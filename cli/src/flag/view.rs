//! `flag list`, `flag get` and `flag history`.

use clap::Args;
use serde_json::{Value, json};

use super::FlagArg;
use crate::{
    audit,
    client::Call,
    failure::Failure,
    output::{cell, condition, table},
    session::{ProjectArg, Session},
};

/// Which flags to list.
#[derive(Args, Debug)]
pub struct ListArgs {
    #[command(flatten)]
    project: ProjectArg,
    /// Show the state in this environment
    #[arg(short, long, env = "FLAGRAFT_ENVIRONMENT")]
    environment: Option<String>,
    /// Only flags with this tag
    #[arg(long)]
    tag: Option<String>,
    /// Only flags of this owner
    #[arg(long)]
    owner: Option<String>,
    /// Only flags with this purpose
    #[arg(long)]
    purpose: Option<String>,
    /// Only archived flags; without it, only the others
    #[arg(long)]
    archived: bool,
    /// Only critical flags
    #[arg(long)]
    critical: bool,
}

/// Whose history to show.
#[derive(Args, Debug)]
pub struct HistoryArgs {
    #[command(flatten)]
    flag: FlagArg,
    /// How many changes to show
    #[arg(long, default_value_t = 20)]
    limit: usize,
}

/// Lists flags.
pub async fn list(session: &Session, args: &ListArgs) -> Result<(), Failure> {
    let call = Call::get(["api", "v1", "projects", &args.project.project, "flags"])
        .query("tag", args.tag.clone())
        .query("owner", args.owner.clone())
        .query("purpose", args.purpose.clone())
        .query("archived", args.archived.then_some("true"))
        .query("critical", args.critical.then_some("true"));
    let flags = session.client.list(call).await?;
    let row = |flag: &Value| {
        let state = match &args.environment {
            Some(environment) => state(&flag["environments"][environment]),
            None => enabled_in(&flag["environments"]),
        };
        let cells = ["key", "type", "critical", "owner", "tags"].map(|field| cell(&flag[field]));
        let [key, flag_type, critical, owner, tags] = cells;
        vec![key, flag_type, state, critical, owner, tags]
    };
    let state_header = args.environment.as_deref().map_or_else(|| "ON IN".to_owned(), str::to_uppercase);
    session.output.show(&json!({"items": flags}), |_| {
        let rows = flags.iter().map(row).collect();
        table(&["FLAG", "TYPE", &state_header, "CRITICAL", "OWNER", "TAGS"], rows, "no flags")
    })
}

/// `on: 2 rules, else off` or the like.
fn state(configuration: &Value) -> String {
    let Some(configuration) = configuration.as_object() else { return "not configured".to_owned() };
    if configuration.get("enabled") != Some(&Value::Bool(true)) {
        return "off".to_owned();
    }
    let count = |field: &str| configuration.get(field).and_then(Value::as_array).map_or(0, Vec::len);
    let default = serve(configuration.get("default").unwrap_or(&Value::Null));
    match count("rules") + count("targets") {
        0 => format!("on: {default}"),
        1 => format!("on: 1 rule, else {default}"),
        rules => format!("on: {rules} rules, else {default}"),
    }
}

/// What is served, in a few words.
fn serve(serve: &Value) -> String {
    if let Some(variant) = serve.get("variant").and_then(Value::as_str) {
        return variant.to_owned();
    }
    let Some(rollout) = serve.get("rollout") else { return "code default".to_owned() };
    let weights = rollout["weights"].as_array().into_iter().flatten();
    let parts: Vec<String> = weights.map(|w| format!("{}={}", cell(&w["variant"]), w["weight"])).collect();
    format!("rollout by {} {}", cell(&rollout["by"]), parts.join(","))
}

fn enabled_in(environments: &Value) -> String {
    let environments = environments.as_object().into_iter().flatten();
    let on: Vec<&str> = environments
        .filter(|(_, c)| c.get("enabled") == Some(&Value::Bool(true)))
        .map(|(name, _)| name.as_str())
        .collect();
    if on.is_empty() { "-".to_owned() } else { on.join(",") }
}

/// Shows one flag.
pub async fn get(session: &Session, flag: &FlagArg) -> Result<(), Failure> {
    let call = Call::get(["api", "v1", "projects", &flag.project.project, "flags", &flag.key]);
    let answer = session.client.send(&call).await?;
    session.output.show(&answer.body, describe)
}

/// A flag on a page: its definition, then each environment with its rules in the order they are tried.
fn describe(flag: &Value) -> String {
    let mut lines = vec![format!("{}  {}", cell(&flag["key"]), cell(&flag["type"]))];
    let mut field = |name: &str, value: &Value| {
        let text = cell(value);
        if text != "-" && text != "no" {
            lines.push(format!("  {name:<13}{text}"));
        }
    };
    for name in
        ["name", "description", "owner", "purpose", "tags", "critical", "temporary", "expires_at", "exposure"]
    {
        field(name, &flag[name]);
    }
    field("safe variant", &flag["safe_variant"]);
    field("off variant", &flag["off_variant"]);
    field("revision", &flag["system"]["revision"]);
    for (name, value) in flag["variants"].as_object().into_iter().flatten() {
        lines.push(format!("  variant      {name} = {value}"));
    }
    for (name, configuration) in flag["environments"].as_object().into_iter().flatten() {
        let on = configuration["enabled"] == Value::Bool(true);
        lines.push(format!("\n{name}: {}", if on { "on" } else { "off" }));
        lines.extend(configuration["prerequisites"].as_array().into_iter().flatten().map(|p| {
            format!("  needs        {} to be {}", cell(&p["flag"]), cell(&p["variants"]).replace(',', " or "))
        }));
        lines.extend(configuration["targets"].as_array().into_iter().flatten().map(|t| {
            let values = t["values"].as_array().map_or(0, Vec::len);
            format!("  target       {values} of {} -> {}", cell(&t["by"]), cell(&t["variant"]))
        }));
        lines.extend(configuration["rules"].as_array().into_iter().flatten().map(|rule| {
            let when = condition(&rule["when"]);
            format!("  rule         {}: {when} -> {}", cell(&rule["id"]), serve(&rule["serve"]))
        }));
        lines.push(format!("  default      {}", serve(&configuration["default"])));
    }
    lines.join("\n")
}

/// Shows the records that name a flag.
pub async fn history(session: &Session, args: &HistoryArgs) -> Result<(), Failure> {
    let selection = audit::Selection {
        project: Some(args.flag.project.project.clone()),
        filters: audit::Filters { flag: Some(args.flag.key.clone()), ..audit::Filters::default() },
        ..audit::Selection::default()
    };
    let records = audit::newest(session, &selection, args.limit).await?;
    audit::show(session, &records, "no changes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_in_a_few_words() {
        let rollout = json!({"rollout": {"by": "targetingKey", "weights": [{"variant": "on", "weight": 1}]}});
        let cases = [
            (Value::Null, "not configured"),
            (json!({"enabled": false, "default": {"variant": "on"}}), "off"),
            (json!({"enabled": true, "default": {"variant": "on"}}), "on: on"),
            (json!({"enabled": true, "default": null}), "on: code default"),
            (
                json!({"enabled": true, "rules": [{}], "default": rollout}),
                "on: 1 rule, else rollout by targetingKey on=1",
            ),
        ];
        for (configuration, words) in cases {
            assert_eq!(state(&configuration), words, "{configuration}");
        }
    }

    #[test]
    fn a_page_shows_rules_in_order() {
        let text = describe(&json!({
            "key": "checkout-v2", "type": "boolean", "critical": true, "safe_variant": "off", "off_variant": null,
            "variants": {"off": false, "on": true}, "system": {"revision": 7},
            "environments": {"production": {"enabled": true, "default": {"variant": "off"},
                "prerequisites": [{"flag": "payments-core", "variants": ["on"]}],
                "rules": [{"id": "staff", "when": {"segment": "staff"}, "serve": {"variant": "on"}}]}}
        }));
        assert!(text.contains("variant      on = true"), "{text}");
        assert!(text.contains("needs        payments-core to be on"), "{text}");
        assert!(text.contains(r#"rule         staff: segment("staff") -> on"#), "{text}");
    }
}

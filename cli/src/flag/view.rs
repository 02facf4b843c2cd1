//! `flag list`, `flag get` and `flag history`.

use clap::Args;
use flagraft_client::admin::{
    Call,
    flags::{self, Filter},
};
use serde_json::Value;

use super::{FlagArg, past::PastArgs};
use crate::{
    audit,
    failure::Failure,
    output::{cell, condition, table},
    session::{ProjectArg, Session},
};

/// Records of one page of a flag's history: the most that the API gives.
const HISTORY_PAGE: usize = 500;

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

/// Which flag to show.
#[derive(Args, Debug)]
pub struct GetArgs {
    #[command(flatten)]
    flag: FlagArg,
    #[command(flatten)]
    past: PastArgs,
}

/// Lists flags.
pub async fn list(session: &Session, args: ListArgs) -> Result<(), Failure> {
    let ListArgs { project, environment, tag, owner, purpose, archived, critical } = args;
    let row = |flag: &Value| {
        let state = match &environment {
            Some(environment) => state(&flag["environments"][environment]),
            None => enabled_in(&flag["environments"]),
        };
        let cells = ["key", "type", "critical", "owner", "tags"].map(|field| cell(&flag[field]));
        let [key, flag_type, critical, owner, tags] = cells;
        vec![key, flag_type, state, critical, owner, tags]
    };
    let state_header = environment.as_deref().map_or_else(|| "ON IN".to_owned(), str::to_uppercase);
    let table = |flags: &[Value]| {
        let rows = flags.iter().map(row).collect();
        table(&["FLAG", "TYPE", &state_header, "CRITICAL", "OWNER", "TAGS"], rows, "no flags")
    };
    let filter = Filter { tag, owner, purpose, archived, critical };
    session.show_list(&flags::list(&project.project, filter), table).await
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
pub async fn get(session: &Session, args: &GetArgs) -> Result<(), Failure> {
    let FlagArg { key, project } = &args.flag;
    session.show(&args.past.on(flags::get(&project.project, key)), describe).await
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

/// Shows the records that tell of a flag, the newest first.
pub async fn history(session: &Session, args: &HistoryArgs) -> Result<(), Failure> {
    let FlagArg { key, project } = &args.flag;
    let call = Call::get(["api", "v1", "projects", &project.project, "flags", key, "history"]);
    let (mut records, mut cursor) = (Vec::new(), None::<String>);
    while records.len() < args.limit {
        let wanted = (args.limit - records.len()).min(HISTORY_PAGE);
        let page = call.clone().query("limit", Some(wanted.to_string())).query("cursor", cursor);
        let answer = session.client.send(&page).await?;
        records.extend(answer.text().lines().map(str::to_owned));
        match answer.header("flagraft-next") {
            "" => break,
            next => cursor = Some(next.to_owned()),
        }
    }
    audit::show_of_flag(session, &records, key, "no changes")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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

use clap::CommandFactory as _;
use flagraft_core::operation::Operation;
use serde_json::{Value, json};

use super::*;
use crate::fake::{Fake, Seen};

/// clap checks the definition of every command only when it is built so.
#[test]
fn the_command_line_is_sound() {
    Arguments::command().debug_assert();
}

#[test]
fn every_option_and_command_is_documented() {
    let mut open = vec![Arguments::command()];
    while let Some(command) = open.pop() {
        let name = command.get_name().to_owned();
        assert!(command.get_about().is_some(), "{name} says nothing");
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{name} {} says nothing", argument.get_id());
        }
        open.extend(command.get_subcommands().cloned());
    }
}

/// `flagraft serve --dev`, and then any other command, without a word about addresses.
#[test]
fn commands_look_for_a_node_where_serve_starts_one() {
    let command = Arguments::command();
    let default = |command: &clap::Command, id: &str| {
        let argument = command.get_arguments().find(|argument| argument.get_id() == id).expect(id);
        let values = argument.get_default_values().iter().map(|value| value.to_string_lossy().into_owned());
        values.collect::<Vec<_>>().join(",")
    };
    let listen = default(command.find_subcommand("serve").expect("serve"), "listen");
    assert_eq!(default(&command, "endpoints"), format!("http://{listen}"));
}

/// A secret in the arguments would be in the list of processes and in the shell's history.
#[test]
fn no_option_takes_a_secret() {
    let line = ["flagraft", "flag", "list", "-p", "demo", "--token", "fr_adm_x"];
    assert!(Arguments::try_parse_from(line).is_err());
}

/// Runs a command line against a node that says yes to everything, and gives the requests that it made.
async fn requests(line: &[&str]) -> Vec<Seen> {
    let node =
        Fake::saying(200, json!({"revision": 1, "items": [], "next": null, "audit": {"size": 0}})).await;
    let token = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(token.path(), "fr_adm_test\n").expect("written");
    let options = ["--endpoint", node.url.as_str(), "--token-file", token.path().to_str().expect("UTF-8")];
    let arguments = ["flagraft"].iter().chain(line).chain(&options);
    let arguments = Arguments::try_parse_from(arguments).unwrap_or_else(|error| panic!("{line:?}: {error}"));
    ask(arguments.command, &arguments.global).await.unwrap_or_else(|failure| panic!("{line:?}: {failure}"));
    let seen = node.seen();
    assert!(seen.iter().all(|seen| seen.authorization.as_deref() == Some("Bearer fr_adm_test")), "{seen:?}");
    assert!(seen.iter().all(|seen| seen.headers["user-agent"].starts_with("flagraft-cli/")), "{seen:?}");
    seen
}

/// Words of a command line; `+` stands for the options that every change of a flag in an environment has.
fn words(line: &str) -> Vec<&str> {
    let common = ["-p", "demo", "-e", "live", "-r", "why", "-t", "OPS-1"];
    line.split_whitespace().flat_map(|word| if word == "+" { common.to_vec() } else { vec![word] }).collect()
}

/// Commands that are one operation: what they send is the operation, and the domain knows it.
#[tokio::test]
async fn each_command_makes_its_operation() {
    let project = "-p demo -r why -t OPS-1";
    let rows = [
        (
            format!("flag create f --type boolean {project}"),
            json!({"op": "flag.put", "if_revision": 0, "flag": {"key": "f", "type": "boolean", "variants": {"on": true, "off": false}, "off_variant": "off"}}),
        ),
        (
            format!(
                "flag create f --type string --variant a=x --variant b=7 --critical --safe-variant a -e live --default a --enabled {project}"
            ),
            json!({"op": "flag.put", "if_revision": 0, "flag": {
                "key": "f", "type": "string", "variants": {"a": "x", "b": "7"}, "critical": true, "safe_variant": "a",
                "environments": {"live": {"enabled": true, "default": {"variant": "a"}}}}}),
        ),
        (format!("flag archive f {project}"), json!({"op": "flag.archive", "flag": "f"})),
        (format!("flag restore f {project}"), json!({"op": "flag.restore", "flag": "f"})),
        (format!("flag delete f {project}"), json!({"op": "flag.delete", "flag": "f"})),
        ("flag enable f +".to_owned(), json!({"op": "flag.enable", "flag": "f", "environment": "live"})),
        ("flag disable f +".to_owned(), json!({"op": "flag.disable", "flag": "f", "environment": "live"})),
        (
            format!("flag copy f --from dev --to live --parts rules,targets {project}"),
            json!({"op": "flag.copy", "flag": "f", "from": "dev", "to": "live", "parts": ["rules", "targets"]}),
        ),
        (
            "flag rollout f --rule ramp --weights on=10,off=90 +".to_owned(),
            json!({"op": "rollout.set", "flag": "f", "environment": "live", "rule": "ramp",
                "weights": [{"variant": "on", "weight": 10}, {"variant": "off", "weight": 90}]}),
        ),
        (
            "flag set-default f --code-default +".to_owned(),
            json!({"op": "default.set", "flag": "f", "environment": "live", "serve": null}),
        ),
        (
            "flag set-default f --variant on +".to_owned(),
            json!({"op": "default.set", "flag": "f", "environment": "live", "serve": {"variant": "on"}}),
        ),
        (
            "flag set-default f --weights on=1,off=1 --by account +".to_owned(),
            json!({"op": "default.set", "flag": "f", "environment": "live", "serve": {"rollout": {
                "by": "account", "seed": "f", "weights": [{"variant": "on", "weight": 1}, {"variant": "off", "weight": 1}]}}}),
        ),
        (
            r#"rule put f vip --when {"segment":"vip"} --variant on --before ramp +"#.to_owned(),
            json!({"op": "rule.put", "flag": "f", "environment": "live", "before": "ramp",
                "rule": {"id": "vip", "when": {"segment": "vip"}, "serve": {"variant": "on"}}}),
        ),
        (
            r#"rule put f vip --when segment("vip") --variant on +"#.to_owned(),
            json!({"op": "rule.put", "flag": "f", "environment": "live",
                "rule": {"id": "vip", "when": {"segment": "vip"}, "serve": {"variant": "on"}}}),
        ),
        (
            "rule delete f vip +".to_owned(),
            json!({"op": "rule.delete", "flag": "f", "environment": "live", "rule": "vip"}),
        ),
        (
            format!("segment members add vip ada bea {project}"),
            json!({"op": "segment.members.add", "segment": "vip", "list": "included", "members": ["ada", "bea"]}),
        ),
        (
            format!("segment members remove vip ada --list excluded {project}"),
            json!({"op": "segment.members.remove", "segment": "vip", "list": "excluded", "members": ["ada"]}),
        ),
    ];
    for (line, operation) in rows {
        Operation::from_value(operation.clone()).unwrap_or_else(|invalid| panic!("{operation}: {invalid}"));
        let [seen] = requests(&words(&line)).await.try_into().expect("one request");
        assert_eq!(
            (seen.method.as_str(), seen.uri.as_str()),
            ("POST", "/api/v1/projects/demo/changes"),
            "{line}"
        );
        let body: Value = serde_json::from_str(&seen.body).expect("JSON");
        assert_eq!(body, json!({"reason": "why", "ticket": "OPS-1", "operations": [operation]}), "{line}");
        assert!(seen.key.is_some(), "{line} has a request id");
    }
}

/// Commands that have a route of their own.
#[tokio::test]
async fn each_command_asks_its_route() {
    let why = json!({"reason": "why", "ticket": "OPS-1"});
    let with = |field: &str, value: Value| {
        let mut body = why.clone();
        body[field] = value;
        body
    };
    let project = "-p demo -r why -t OPS-1";
    let grant = json!({"role": "reader", "project": "demo", "environments": ["live"]});
    let rows = [
        ("flag get f -p demo".to_owned(), "GET /api/v1/projects/demo/flags/f", Value::Null),
        (
            "flag list -p demo --tag a --critical".to_owned(),
            "GET /api/v1/projects/demo/flags?tag=a&critical=true&limit=500",
            Value::Null,
        ),
        (
            format!(r#"flag update f --owner me --patch {{"tags":null}} {project}"#),
            "PATCH /api/v1/projects/demo/flags/f",
            with("patch", json!({"owner": "me", "tags": null})),
        ),
        (
            "flag eval f -k ada -a beta=true".to_owned(),
            "POST /ofrep/v1/evaluate/flags/f",
            json!({"context": {"targetingKey": "ada", "beta": true}}),
        ),
        (
            r#"flag explain f -p demo -e live -c {"beta":1} -k ada -a beta=true"#.to_owned(),
            "POST /api/v1/projects/demo/environments/live/explain",
            json!({"flag": "f", "context": {"targetingKey": "ada", "beta": true}}),
        ),
        ("flag eval".to_owned(), "POST /ofrep/v1/evaluate/flags", json!({"context": {}})),
        ("segment get s -p demo".to_owned(), "GET /api/v1/projects/demo/segments/s", Value::Null),
        (
            format!("segment delete s {project}"),
            "DELETE /api/v1/projects/demo/segments/s?reason=why&ticket=OPS-1",
            Value::Null,
        ),
        (
            "environment get live -p demo".to_owned(),
            "GET /api/v1/projects/demo/environments/live",
            Value::Null,
        ),
        (
            format!("environment put live --order 30 {project}"),
            "PUT /api/v1/projects/demo/environments/live",
            with("environment", json!({"key": "live", "order": 30})),
        ),
        ("project list".to_owned(), "GET /api/v1/projects?limit=500", Value::Null),
        (
            "project put demo --name Demo -r why -t OPS-1".to_owned(),
            "PUT /api/v1/projects/demo",
            with("project", json!({"key": "demo", "name": "Demo", "description": ""})),
        ),
        (
            "project delete demo -r why -t OPS-1".to_owned(),
            "DELETE /api/v1/projects/demo?reason=why&ticket=OPS-1",
            Value::Null,
        ),
        ("change status req_1".to_owned(), "GET /api/v1/requests/req_1", Value::Null),
        ("token list".to_owned(), "GET /api/v1/tokens?limit=500", Value::Null),
        (
            "token revoke tok_1 -r why -t OPS-1".to_owned(),
            "DELETE /api/v1/tokens/tok_1?reason=why&ticket=OPS-1",
            Value::Null,
        ),
        ("signing-key list".to_owned(), "GET /api/v1/signing-keys?limit=500", Value::Null),
        (
            "signing-key put AAAA --actor ann --name laptop -r why -t OPS-1".to_owned(),
            "POST /api/v1/signing-keys",
            with(
                "signing_key",
                json!({"public_key": "AAAA", "name": "laptop", "actor": {"type": "user", "id": "ann"}}),
            ),
        ),
        (
            "signing-key revoke key_1 -r why -t OPS-1".to_owned(),
            "POST /api/v1/changes",
            with("operations", json!([{"op": "signing_key.revoke", "signing_key": "key_1"}])),
        ),
        (
            format!("environment put live --require-signature {project}"),
            "PUT /api/v1/projects/demo/environments/live",
            with("environment", json!({"key": "live", "policy": {"signed": true}})),
        ),
        ("cluster status".to_owned(), "GET /api/v1/cluster", Value::Null),
        ("audit list".to_owned(), "GET /api/v1/audit?order=newest&limit=50", Value::Null),
        ("audit checkpoint".to_owned(), "GET /api/v1/audit/checkpoint", Value::Null),
        ("audit keys".to_owned(), "GET /api/v1/audit/keys", Value::Null),
        (
            "audit keys rotate -r why -t OPS-1".to_owned(),
            "POST /api/v1/audit/keys/rotate",
            json!({"reason": "why", "ticket": "OPS-1"}),
        ),
        ("audit retention".to_owned(), "GET /api/v1/audit/retention", Value::Null),
        ("audit retention show".to_owned(), "GET /api/v1/audit/retention", Value::Null),
        (
            "audit retention set access=30 denied=365 -r why -t OPS-1".to_owned(),
            "PUT /api/v1/audit/retention",
            with("keep_days", json!({"access": 30, "denied": 365})),
        ),
        (
            "audit retention set -r why -t OPS-1".to_owned(),
            "PUT /api/v1/audit/retention",
            with("keep_days", json!({})),
        ),
        (
            "audit retention hold put case-7 --from 3 --to 9 -r why -t OPS-1".to_owned(),
            "PUT /api/v1/audit/holds/case-7",
            json!({"from": 3, "to": 9, "reason": "why", "ticket": "OPS-1"}),
        ),
        (
            "audit retention hold put case-7 --since 2027-03-01T00:00:00Z -r why -t OPS-1".to_owned(),
            "PUT /api/v1/audit/holds/case-7",
            json!({"since": "2027-03-01T00:00:00Z", "reason": "why", "ticket": "OPS-1"}),
        ),
        (
            "audit retention hold delete case-7 -r why -t OPS-1".to_owned(),
            "DELETE /api/v1/audit/holds/case-7?reason=why&ticket=OPS-1",
            Value::Null,
        ),
        (
            "audit keys retire --node 2 a2V5 -r why -t OPS-1".to_owned(),
            "POST /api/v1/audit/keys/retire",
            json!({"node": 2, "public_key": "a2V5", "reason": "why", "ticket": "OPS-1"}),
        ),
    ];
    for (line, route, body) in rows {
        let seen = requests(&words(&line)).await;
        assert_eq!(format!("{} {}", seen[0].method, seen[0].uri), route, "{line}");
        let sent = if seen[0].body.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&seen[0].body).expect("JSON")
        };
        assert_eq!(sent, body, "{line}");
        let evaluates = seen[0].uri.starts_with("/ofrep") || seen[0].uri.ends_with("/explain");
        let writes = seen[0].method != "GET" && !evaluates;
        assert_eq!(seen[0].key.is_some(), writes, "{line}");
    }
    // The answer of the node that says yes to everything has no secret in it.
    let line = words("token create --name ci --kind service +");
    let node = Fake::saying(201, json!({"token": {"id": "tok_1"}, "secret": "fr_svc_x"})).await;
    let token = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(token.path(), "fr_adm_test").expect("written");
    let options = ["--endpoint", node.url.as_str(), "--token-file", token.path().to_str().expect("UTF-8")];
    let arguments =
        Arguments::try_parse_from(["flagraft"].iter().chain(&line).chain(&options)).expect("a command line");
    ask(arguments.command, &arguments.global).await.expect("created");
    let body: Value = serde_json::from_str(&node.seen()[0].body).expect("JSON");
    let token =
        json!({"name": "ci", "kind": "service", "actor": {"type": "service", "id": "ci"}, "grants": [grant]});
    assert_eq!(body, with("token", token));
}

#[test]
fn a_wrong_command_line_is_refused_before_anything_is_sent() {
    let refused = [
        "flag disable f -p demo -e live",
        "flag create f -p demo -r why",
        "import file -r why -p demo --format flagd",
        "import file -r why -p demo -e live",
        "flag explain f -p demo",
        "flag explain -p demo -e live",
        "rule put f r -p demo -e live -r why --variant a --weights b=1",
        "completion klingon",
    ];
    for line in refused {
        let arguments = ["flagraft"].into_iter().chain(line.split_whitespace());
        let error =
            Arguments::try_parse_from(arguments).err().unwrap_or_else(|| panic!("{line} is accepted"));
        assert_eq!(error.exit_code(), 2, "{line}: {error}");
    }
}

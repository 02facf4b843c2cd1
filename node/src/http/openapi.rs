//! `/openapi.json`: made from the router's own table, and from the schemas in `schemas.json`.

use std::sync::LazyLock;

use axum::{Json, response::IntoResponse};
use serde_json::{Map, Value, json};

use super::{
    auth::Observer,
    route::{Callers, Part, Route},
    table,
};

/// The schemas that routes name.
const SCHEMAS: &str = include_str!("schemas.json");

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| document(&table()));

pub(super) async fn get(_caller: Observer) -> impl IntoResponse {
    Json(&*DOCUMENT)
}

/// The document for these routes.
pub(super) fn document(routes: &[Route]) -> Value {
    let mut paths = Map::new();
    for route in routes {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = operation(route);
    }
    // A test makes sure that the file is JSON.
    let schemas: Value = serde_json::from_str(SCHEMAS).unwrap_or_default();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Flagraft",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Feature flags that are replicated, audited, and as consistent as each flag needs",
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "ticket": {"type": "apiKey", "in": "query", "name": "ticket"},
            },
        },
    })
}

fn operation(route: &Route) -> Value {
    let mut operation = json!({
        "operationId": route.id,
        "summary": route.summary,
        "tags": [tag(route.part)],
        "parameters": parameters(route),
        "responses": responses(route),
        "x-flagraft-token-kinds": route.callers.token_kinds(),
    });
    operation["security"] = match route.callers {
        Callers::Anyone => json!([]),
        Callers::Tickets => json!([{"ticket": []}]),
        Callers::Evaluators | Callers::Admins | Callers::Observers | Callers::Services => {
            json!([{"bearer": []}, {"apiKey": []}])
        }
    };
    if let Some(schema) = route.body {
        operation["requestBody"] =
            json!({"required": true, "content": {"application/json": {"schema": reference(schema)}}});
    }
    operation
}

fn tag(part: Part) -> &'static str {
    match part {
        Part::Ofrep => "OFREP",
        Part::Read => "Reads",
        Part::Write => "Changes",
        Part::Report => "Reports",
        Part::Status => "Status",
    }
}

fn parameters(route: &Route) -> Vec<Value> {
    let in_path = route.path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        Some(json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
    });
    // What authenticates is said by the operation's security.
    let query = route.query.iter().filter(|_| route.callers != Callers::Tickets);
    let in_query = query.map(|name| {
        let required = *name == "reason";
        json!({"name": name, "in": "query", "required": required, "schema": {"type": "string"}})
    });
    let in_header = headers(route).into_iter().map(|(name, says)| {
        json!({"name": name, "in": "header", "required": false, "description": says, "schema": {"type": "string"}})
    });
    in_path.chain(in_query).chain(in_header).collect()
}

/// The headers that requests of a part of the API take.
fn headers(route: &Route) -> Vec<(&'static str, &'static str)> {
    const DEADLINE: (&str, &str) = ("Flagraft-Deadline-Ms", "How long the request may wait, in milliseconds");
    const READ: [(&str, &str); 3] = [
        ("Flagraft-Min-Revision", "<history>.<revision> that the answer must not be older than"),
        ("Flagraft-Consistency", "linearizable: confirm with a quorum, or 503"),
        DEADLINE,
    ];
    const WRITE: [(&str, &str); 2] =
        [("Idempotency-Key", "Makes a repeated request the same request; 1 to 128 characters"), DEADLINE];
    const CONDITIONS: [(&str, &str); 2] = [
        ("If-Match", "The ETag of the object as it was read; 412 if it has changed"),
        ("If-None-Match", "*: only if the object does not exist"),
    ];
    const NONE_MATCH: (&str, &str) =
        ("If-None-Match", "The ETag of an earlier answer; 304 if nothing has changed");
    const LAST_EVENT_ID: (&str, &str) =
        ("Last-Event-ID", "The id of the event that the receiver saw last: what came after it is given");
    match route.part {
        Part::Ofrep if is_stream(route) => vec![LAST_EVENT_ID],
        Part::Read if is_stream(route) => [&READ[..], &[LAST_EVENT_ID]].concat(),
        Part::Read if route.answer == Some("Definitions") => [&READ[..], &[NONE_MATCH]].concat(),
        Part::Ofrep if route.query.is_empty() => READ.to_vec(),
        Part::Ofrep => [&READ[..], &[NONE_MATCH]].concat(),
        Part::Read => READ.to_vec(),
        Part::Write if route.method == axum::http::Method::POST => WRITE.to_vec(),
        Part::Write => [WRITE, CONDITIONS].concat(),
        Part::Report => vec![DEADLINE],
        Part::Status => Vec::new(),
    }
}

/// Whether the answer goes on until one side ends it.
fn is_stream(route: &Route) -> bool {
    matches!(route.answer, Some("Event" | "Notice"))
}

fn responses(route: &Route) -> Value {
    let success = match route.answer {
        Some(schema) if is_stream(route) => {
            json!({"description": "Events, whose data are this", "content": {"text/event-stream": {"schema": reference(schema)}}})
        }
        Some(schema @ ("Record" | "Member")) => {
            json!({"description": "One per line", "content": {"application/x-ndjson": {"schema": reference(schema)}}})
        }
        Some("AuditExport") => {
            json!({
                "description": "The export, as it is made: as lines of JSON, or as CSV",
                "content": {
                    "application/x-ndjson": {"schema": reference("AuditExport")},
                    "text/csv": {"schema": reference("AuditExport")},
                },
            })
        }
        Some("Backup") => {
            json!({"description": "The backup, as it is made", "content": {"application/octet-stream": {"schema": reference("Backup")}}})
        }
        Some("Checkpoint") => {
            json!({"description": "The signed note", "content": {"text/plain": {"schema": reference("Checkpoint")}}})
        }
        Some(schema) => {
            json!({"description": "Done", "content": {"application/json": {"schema": reference(schema)}}})
        }
        None => json!({"description": "Done"}),
    };
    let failure = match route.part {
        Part::Ofrep => "EvaluationFailure",
        Part::Read | Part::Write | Part::Report | Part::Status => "Error",
    };
    let mut responses = json!({
        "200": success,
        "default": {
            "description": "The status says what kind of error it is, the body what to do",
            "content": {"application/json": {"schema": reference(failure)}},
        },
    });
    if matches!(route.part, Part::Write) && route.answer.is_some() {
        responses["201"] = responses["200"].clone();
        responses["201"]["description"] = "Created".into();
    }
    if matches!(route.id, "evaluateFlagsBulk" | "getDefinitions") {
        responses["304"] = json!({"description": "Nothing has changed since the answer with this ETag"});
    }
    responses
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    found.insert(reference.rsplit('/').next().unwrap_or_default().to_owned());
                }
                fields.values().for_each(|field| references(field, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_schema_that_is_named_is_there_and_every_one_that_is_there_is_named() {
        serde_json::from_str::<Value>(SCHEMAS).expect("schemas.json is JSON");
        let document = document(&table());
        let mut named = BTreeSet::new();
        references(&document, &mut named);
        let schemas = document["components"]["schemas"].as_object().expect("schemas");
        let there: BTreeSet<String> = schemas.keys().cloned().collect();
        assert_eq!(named, there);
    }

    #[test]
    fn every_route_is_documented_once() {
        let routes = table();
        let document = document(&routes);
        let mut ids = BTreeSet::new();
        for route in &routes {
            assert!(ids.insert(route.id), "two operations are called {}", route.id);
            assert!(!route.summary.is_empty(), "{} says nothing", route.id);
            let method = route.method.as_str().to_ascii_lowercase();
            assert_eq!(document["paths"][route.path][method]["operationId"], route.id);
        }
        let documented: usize = document["paths"]
            .as_object()
            .expect("paths")
            .values()
            .map(|path| path.as_object().map_or(0, Map::len))
            .sum();
        assert_eq!(documented, routes.len());
    }
}

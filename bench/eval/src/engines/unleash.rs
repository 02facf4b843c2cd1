//! Unleash's yggdrasil: a rule is a strategy with constraints, the rollout its own condition. It is evaluated before
//! the constraints.

use std::{collections::HashMap, hint::black_box};

use flagraft_bench_common::{
    failure::Failure,
    flags::{Flag, Rule, User},
};
use serde_json::{Value, json};
use unleash_types::client_features::{ClientFeatures, Context};
use unleash_yggdrasil::{EngineState, UpdateMessage};

use super::Engine;

pub struct Yggdrasil(EngineState);

impl Engine for Yggdrasil {
    const NAME: &'static str = "Unleash (yggdrasil)";
    type Context = Context;

    fn load(flags: &[Flag]) -> Result<Self, Failure> {
        let features: Vec<Value> = flags.iter().map(feature).collect();
        let features: ClientFeatures = serde_json::from_value(json!({"version": 2, "features": features}))?;
        let engine = EngineState::default();
        match engine.take_state(UpdateMessage::FullResponse(features)) {
            None => Ok(Self(engine)),
            Some(warnings) => {
                let first = warnings.into_iter().next().map(|warning| warning.message).unwrap_or_default();
                Err(Failure(format!("yggdrasil refuses a flag: {first}")))
            }
        }
    }

    fn context(user: &User) -> Result<Context, Failure> {
        let properties = [("country", &user.country), ("plan", &user.plan), ("version", &user.version)];
        Ok(Context {
            user_id: Some(user.key.clone()),
            session_id: None,
            environment: None,
            app_name: None,
            current_time: None,
            remote_address: None,
            properties: Some(HashMap::from(properties.map(|(name, value)| (name.to_owned(), value.clone())))),
        })
    }

    fn is_on(&self, key: &str, context: &Context) -> bool {
        black_box(self.0.is_enabled(key, context, &None))
    }
}

fn feature(flag: &Flag) -> Value {
    let mut strategies: Vec<Value> = flag.rules.iter().map(|rule| strategy(flag, rule)).collect();
    if strategies.is_empty() {
        strategies.push(json!({"name": "default"}));
    }
    json!({"name": flag.key, "type": "release", "enabled": true, "strategies": strategies})
}

fn strategy(flag: &Flag, rule: &Rule) -> Value {
    json!({
        "name": "flexibleRollout",
        "parameters": {"rollout": "50", "stickiness": "userId", "groupId": flag.key},
        "constraints": [
            {"contextName": "country", "operator": "IN", "values": rule.countries},
            {"contextName": "plan", "operator": "IN", "values": rule.plans},
            {"contextName": "version", "operator": "SEMVER_GTE", "value": rule.version},
        ],
    })
}

//! A provider for OpenFeature's Rust SDK, [`open_feature`].
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use flagraft_client::{Client, openfeature::FlagraftProvider};
//! use open_feature::OpenFeature;
//!
//! # async fn shop(client: Client) {
//! let provider = FlagraftProvider::new(client, Duration::from_secs(5));
//! OpenFeature::singleton_mut().await.set_provider(provider).await;
//! # }
//! ```
//!
//! The SDK has no events yet and no status for a client that is refused: [`Client::statuses`] and [`Client::changes`] tell of
//! both. Its providers are not told the caller's default; where a flag leaves the value to the caller, the SDK is told an
//! error, upon which callers go by their defaults.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use open_feature::{
    EvaluationContext, EvaluationContextFieldValue, EvaluationError, EvaluationErrorCode, EvaluationReason,
    EvaluationResult, FlagMetadata, FlagMetadataValue, StructValue, Value as OpenValue,
    provider::{FeatureProvider, ProviderMetadata, ProviderStatus, ResolutionDetails},
};
use serde_json::{Map, Value};

use crate::{
    client::Client,
    context::Context,
    details::{Details, ErrorCode, EvaluationFault, Reason},
    status::Status,
};

/// Serves flags to OpenFeature from a [`Client`].
#[derive(Debug)]
pub struct FlagraftProvider {
    client: Client,
    metadata: ProviderMetadata,
    ready_within: Duration,
    asks_nodes: bool,
}

impl FlagraftProvider {
    /// A provider of this client's flags. Setting it waits, for at most `ready_within`, until the client is ready.
    #[must_use]
    pub fn new(client: Client, ready_within: Duration) -> Self {
        Self { client, metadata: ProviderMetadata::new("flagraft"), ready_within, asks_nodes: false }
    }

    /// Lets a node evaluate where the copy can't tell, as the client's `_details_remote` getters do: an evaluation may then
    /// take two seconds.
    #[must_use]
    pub fn asking_nodes(mut self) -> Self {
        self.asks_nodes = true;
        self
    }
}

/// Resolves a flag of one type: by the copy, or by a node where that is allowed.
macro_rules! resolve {
    ($self:ident, $key:ident, $context:ident, $details:ident, $remote:ident, $default:expr, $form:expr) => {{
        let context = context_of($context)?;
        let details = match $self.asks_nodes {
            true => $self.client.$remote($key, &context, $default).await,
            false => $self.client.$details($key, &context, $default),
        };
        resolution(details, $form)
    }};
}

#[async_trait]
impl FeatureProvider for FlagraftProvider {
    async fn initialize(&mut self, _context: &EvaluationContext) {
        self.client.ready(self.ready_within).await;
    }

    fn status(&self) -> ProviderStatus {
        match self.client.status() {
            Status::NotReady => ProviderStatus::NotReady,
            Status::Ready => ProviderStatus::Ready,
            Status::Stale => ProviderStatus::STALE,
            Status::Error | Status::Fatal => ProviderStatus::Error,
        }
    }

    fn metadata(&self) -> &ProviderMetadata {
        &self.metadata
    }

    async fn resolve_bool_value(
        &self,
        flag_key: &str,
        evaluation_context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<bool>> {
        resolve!(self, flag_key, evaluation_context, bool_details, bool_details_remote, false, |value| value)
    }

    async fn resolve_int_value(
        &self,
        flag_key: &str,
        evaluation_context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<i64>> {
        resolve!(self, flag_key, evaluation_context, integer_details, integer_details_remote, 0, |value| {
            value
        })
    }

    async fn resolve_float_value(
        &self,
        flag_key: &str,
        evaluation_context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<f64>> {
        resolve!(self, flag_key, evaluation_context, number_details, number_details_remote, 0.0, |value| {
            value
        })
    }

    async fn resolve_string_value(
        &self,
        flag_key: &str,
        evaluation_context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<String>> {
        let default = String::new();
        resolve!(
            self,
            flag_key,
            evaluation_context,
            string_details,
            string_details_remote,
            default,
            |value| value
        )
    }

    async fn resolve_struct_value(
        &self,
        flag_key: &str,
        evaluation_context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<StructValue>> {
        resolve!(
            self,
            flag_key,
            evaluation_context,
            object_details,
            object_details_remote,
            Map::new(),
            struct_of
        )
    }
}

fn resolution<T, U>(
    details: Details<T>,
    form: impl FnOnce(T) -> U,
) -> EvaluationResult<ResolutionDetails<U>> {
    if let Some(EvaluationFault { code, message }) = details.error {
        let code = match code {
            ErrorCode::ProviderNotReady => EvaluationErrorCode::ProviderNotReady,
            ErrorCode::FlagNotFound => EvaluationErrorCode::FlagNotFound,
            ErrorCode::TypeMismatch => EvaluationErrorCode::TypeMismatch,
            ErrorCode::InvalidContext => EvaluationErrorCode::InvalidContext,
            ErrorCode::General => general(),
        };
        return Err(EvaluationError { code, message: Some(message) });
    }
    if details.variant.is_empty() {
        let message = "the flag leaves its value to the caller's default".to_owned();
        return Err(EvaluationError { code: general(), message: Some(message) });
    }
    let reason = match details.reason {
        Reason::Static => EvaluationReason::Static,
        Reason::Default => EvaluationReason::Default,
        Reason::TargetingMatch => EvaluationReason::TargetingMatch,
        Reason::Split => EvaluationReason::Split,
        Reason::Disabled => EvaluationReason::Disabled,
        Reason::Unknown => EvaluationReason::Unknown,
        Reason::Error => EvaluationReason::Error,
    };
    let mut metadata = metadata_of(&details.metadata);
    metadata.add_value("consistency", details.consistency.as_str());
    if let Some(at) = details.revision {
        metadata.add_value("revision", at.to_string());
    }
    if let Some(age_ms) = details.age_ms {
        metadata.add_value("ageMs", i64::try_from(age_ms).unwrap_or(i64::MAX));
    }
    Ok(ResolutionDetails {
        value: form(details.value),
        variant: Some(details.variant),
        reason: Some(reason),
        flag_metadata: Some(metadata),
    })
}

fn general() -> EvaluationErrorCode {
    EvaluationErrorCode::General("GENERAL".to_owned())
}

/// Metadata are scalars.
fn metadata_of(metadata: &BTreeMap<String, Value>) -> FlagMetadata {
    let mut all = FlagMetadata::default();
    for (name, value) in metadata {
        let value = match value {
            Value::Bool(value) => FlagMetadataValue::Bool(*value),
            Value::String(value) => FlagMetadataValue::String(value.clone()),
            Value::Number(value) => match (value.as_i64(), value.as_f64()) {
                (Some(value), _) => FlagMetadataValue::Int(value),
                (None, Some(value)) => FlagMetadataValue::Float(value),
                (None, None) => continue,
            },
            Value::Null | Value::Array(_) | Value::Object(_) => continue,
        };
        all.values.insert(name.clone(), value);
    }
    all
}

/// The context in this client's form. What can't be brought into it is refused: an attribute that is passed over would change
/// who a rule is for.
fn context_of(context: &EvaluationContext) -> Result<Context, EvaluationError> {
    let mut attributes = Map::new();
    for (name, field) in &context.custom_fields {
        let value = match field {
            EvaluationContextFieldValue::Bool(value) => Value::from(*value),
            EvaluationContextFieldValue::Int(value) => Value::from(*value),
            EvaluationContextFieldValue::Float(value) => Value::from(*value),
            EvaluationContextFieldValue::String(value) => Value::from(value.as_str()),
            EvaluationContextFieldValue::DateTime(at) => {
                let (hours, minutes, _) = at.offset().as_hms();
                let sign = if hours < 0 || minutes < 0 { '-' } else { '+' };
                let (hours, minutes) = (hours.unsigned_abs(), minutes.unsigned_abs());
                let (date, time) = (at.date(), at.time());
                let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
                let (hour, minute, second, nanosecond) = time.as_hms_nano();
                Value::from(format!(
                    "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanosecond:09}{sign}{hours:02}:{minutes:02}"
                ))
            }
            EvaluationContextFieldValue::Struct(value) => {
                let json = value.downcast_ref::<Value>().cloned();
                let json = json.or_else(|| value.downcast_ref::<StructValue>().map(json_of));
                json.ok_or_else(|| EvaluationError {
                    code: EvaluationErrorCode::InvalidContext,
                    message: Some(format!(
                        "the attribute {name:?} is of a type that is not known here; give a serde_json::Value or a StructValue"
                    )),
                })?
            }
        };
        attributes.insert(name.clone(), value);
    }
    if let Some(key) = &context.targeting_key {
        attributes.insert("targetingKey".to_owned(), key.as_str().into());
    }
    Ok(Context::from(attributes))
}

fn struct_of(fields: Map<String, Value>) -> StructValue {
    let fields = fields.into_iter().filter_map(|(name, value)| Some((name, open_value(value)?)));
    StructValue { fields: fields.collect() }
}

/// OpenFeature's values have no null: such a field is left out.
fn open_value(value: Value) -> Option<OpenValue> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(value) => OpenValue::Bool(value),
        Value::Number(value) => match value.as_i64() {
            Some(value) => OpenValue::Int(value),
            None => OpenValue::Float(value.as_f64()?),
        },
        Value::String(value) => OpenValue::String(value),
        Value::Array(items) => OpenValue::Array(items.into_iter().filter_map(open_value).collect()),
        Value::Object(fields) => OpenValue::Struct(struct_of(fields)),
    })
}

fn json_of(value: &StructValue) -> Value {
    fn json(value: &OpenValue) -> Value {
        match value {
            OpenValue::Bool(value) => Value::from(*value),
            OpenValue::Int(value) => Value::from(*value),
            OpenValue::Float(value) => Value::from(*value),
            OpenValue::String(value) => Value::from(value.as_str()),
            OpenValue::Array(items) => items.iter().map(json).collect(),
            OpenValue::Struct(value) => json_of(value),
        }
    }
    value.fields.iter().map(|(name, value)| (name.clone(), json(value))).collect()
}

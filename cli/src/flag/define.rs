//! `flag create` and `flag update`: a flag's definition from options or from a file.

use clap::{Args, ValueEnum};
use flagraft_client::admin::flags;
use serde_json::{Map, Value, json};

use super::FlagArg;
use crate::{
    failure::Failure,
    input,
    session::{Session, SignedWhy, Why},
};

/// The type of all of a flag's variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FlagType {
    /// true or false
    Boolean,
    /// Text
    String,
    /// A whole number within +-(2^53-1)
    Integer,
    /// A number with a fraction
    Number,
    /// A JSON object
    Object,
}

impl FlagType {
    /// The type of a flag as the API writes it; `None` where it is no flag that this program knows.
    fn of(flag: &Value) -> Option<Self> {
        let name = flag.get("type")?.as_str()?;
        Self::value_variants().iter().copied().find(|flag_type| flag_type.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Object => "object",
        }
    }
}

/// The parts of a definition that can be given as options.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Definition")]
struct Definition {
    /// A variant, NAME=VALUE; repeat for each. Text for a string flag, else JSON
    #[arg(long = "variant", value_name = "NAME=VALUE")]
    variants: Vec<String>,
    /// A name for people
    #[arg(long)]
    name: Option<String>,
    /// What the flag is for
    #[arg(long)]
    description: Option<String>,
    /// Who owns it
    #[arg(long)]
    owner: Option<String>,
    /// A tag; repeat for more. An update replaces the tags
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Why the flag exists
    #[arg(long, value_parser = ["release", "experiment", "operational", "kill-switch", "permission"])]
    purpose: Option<String>,
    /// Whether a stale value of it must never be served; needs --safe-variant
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    critical: Option<bool>,
    /// The variant of a critical flag that is served when nobody can be sure
    #[arg(long, value_name = "VARIANT")]
    safe_variant: Option<String>,
    /// The variant that a disabled flag serves
    #[arg(long, value_name = "VARIANT")]
    off_variant: Option<String>,
    /// Whether browsers and phones may evaluate it
    #[arg(long, value_parser = ["server", "client"])]
    exposure: Option<String>,
    /// Whether it is meant to go away again
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    temporary: Option<bool>,
}

impl Definition {
    /// The given fields alone; the values of variants as the flag's type has them.
    fn fields(&self, flag_type: Option<FlagType>) -> Result<Map<String, Value>, Failure> {
        let mut fields = Map::new();
        if !self.variants.is_empty() {
            fields.insert("variants".to_owned(), variants(&self.variants, flag_type)?);
        }
        let texts = [
            ("name", &self.name),
            ("description", &self.description),
            ("owner", &self.owner),
            ("purpose", &self.purpose),
            ("safe_variant", &self.safe_variant),
            ("off_variant", &self.off_variant),
            ("exposure", &self.exposure),
        ];
        for (field, text) in texts {
            if let Some(text) = text {
                fields.insert(field.to_owned(), json!(text));
            }
        }
        for (field, switch) in [("critical", self.critical), ("temporary", self.temporary)] {
            if let Some(switch) = switch {
                fields.insert(field.to_owned(), json!(switch));
            }
        }
        if !self.tags.is_empty() {
            fields.insert("tags".to_owned(), json!(self.tags));
        }
        Ok(fields)
    }
}

/// `NAME=VALUE` each, read by the flag's type. Whether the values suit the type is for the cluster to say.
fn variants(pairs: &[String], flag_type: Option<FlagType>) -> Result<Value, Failure> {
    let mut variants = Map::new();
    for text in pairs {
        let (name, value) = input::pair("--variant", text)?;
        let value = match flag_type {
            Some(FlagType::String) => json!(value),
            _ => serde_json::from_str(value).map_err(|_| {
                Failure::usage(format!("the value of variant {name} is not JSON: {value}"))
                    .next("give true, 7, 0.5 or an object; text in quotes, or --type string")
            })?,
        };
        if variants.insert(name.to_owned(), value).is_some() {
            return Err(Failure::usage(format!("variant {name} is given twice")));
        }
    }
    Ok(Value::Object(variants))
}

/// A new flag.
#[derive(Args, Debug)]
pub struct CreateArgs {
    #[command(flatten)]
    flag: FlagArg,
    /// The type of its variants
    #[arg(long = "type", value_enum, required_unless_present = "file")]
    flag_type: Option<FlagType>,
    /// Read the whole flag, environments and all, from a JSON file (`-`: standard input)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["flag_type", "variants", "environment"])]
    file: Option<String>,
    /// Configure it in this environment too
    #[arg(short, long)]
    environment: Option<String>,
    /// The variant to serve by default in that environment
    #[arg(long, value_name = "VARIANT", requires = "environment")]
    default: Option<String>,
    /// Turn it on in that environment at once
    #[arg(long, requires = "environment")]
    enabled: bool,
    #[command(flatten)]
    definition: Definition,
    #[command(flatten)]
    why: SignedWhy,
}

impl CreateArgs {
    fn document(&self) -> Result<Value, Failure> {
        let mut flag = match &self.file {
            Some(path) => object(input::json_file(path)?)?,
            None => Map::new(),
        };
        let boolean = self.flag_type == Some(FlagType::Boolean);
        if boolean && self.definition.variants.is_empty() {
            // What nearly every boolean flag has.
            flag.insert("variants".to_owned(), json!({"on": true, "off": false}));
            flag.insert("off_variant".to_owned(), json!("off"));
        }
        if let Some(flag_type) = self.flag_type {
            flag.insert("type".to_owned(), json!(flag_type.name()));
        }
        flag.extend(self.definition.fields(self.flag_type)?);
        if let Some(environment) = &self.environment {
            let mut configuration = json!({"enabled": self.enabled});
            if let Some(default) = &self.default {
                configuration["default"] = json!({"variant": default});
            }
            flag.insert("environments".to_owned(), json!({environment: configuration}));
        }
        flag.insert("key".to_owned(), json!(self.flag.key));
        Ok(Value::Object(flag))
    }
}

/// A change of a flag's definition.
#[derive(Args, Debug)]
pub struct UpdateArgs {
    #[command(flatten)]
    flag: FlagArg,
    /// A JSON merge patch (RFC 7396): an object, @FILE, or `-` for standard input
    #[arg(long, value_name = "JSON", conflicts_with = "file")]
    patch: Option<String>,
    /// Replace the flag by the one in a JSON file (`-`: standard input); environments it does not name stay
    #[arg(long, value_name = "FILE")]
    file: Option<String>,
    #[command(flatten)]
    definition: Definition,
    #[command(flatten)]
    why: Why,
}

/// Creates a flag; one that exists is a conflict.
pub async fn create(session: &Session, args: &CreateArgs) -> Result<(), Failure> {
    // 0: the flag must not exist. A plain PUT would replace it.
    let operation = json!({"op": "flag.put", "flag": args.document()?, "if_revision": 0});
    let flag = &args.flag;
    session.change(&flag.project.project, &args.why, &operation, format!("{} is created", flag.key)).await
}

/// Changes a flag.
pub async fn update(session: &Session, args: &UpdateArgs) -> Result<(), Failure> {
    let flag = &args.flag;
    let project = &flag.project.project;
    let did = format!("{} is updated", flag.key);
    if let Some(file) = &args.file {
        let file = input::json_file(file)?;
        let fields = args.definition.fields(FlagType::of(&file))?;
        let mut document = object(file)?;
        document.extend(fields);
        document.insert("key".to_owned(), json!(flag.key));
        return session
            .write(&flags::put(project, &flag.key, &Value::Object(document), &args.why), did)
            .await;
    }
    let mut patch = match &args.patch {
        Some(text) => object(input::json_argument("--patch", text)?)?,
        None => Map::new(),
    };
    // What a variant's value means is for the flag's type to say: `1` and `true` are texts in a string flag.
    let flag_type = match args.definition.variants.is_empty() {
        true => None,
        false => FlagType::of(session.client.send(&flags::get(project, &flag.key)).await?.json()),
    };
    patch.extend(args.definition.fields(flag_type)?);
    if patch.is_empty() {
        return Err(Failure::usage("nothing to change is given").next("see `flagraft flag update --help`"));
    }
    session.write(&flags::patch(project, &flag.key, &Value::Object(patch), &args.why), did).await
}

fn object(value: Value) -> Result<Map<String, Value>, Failure> {
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(Failure::usage("a JSON object is needed here")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_are_read_by_type() {
        let read =
            |pairs: &[&str], t| variants(&pairs.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>(), t);
        assert_eq!(
            read(&["a=1", "b=x=y"], Some(FlagType::String)).expect("text"),
            json!({"a": "1", "b": "x=y"})
        );
        assert_eq!(
            read(&["a=1", "b=0.5"], Some(FlagType::Number)).expect("numbers"),
            json!({"a": 1, "b": 0.5})
        );
        assert_eq!(read(&[r#"a={"x":1}"#], Some(FlagType::Object)).expect("objects"), json!({"a": {"x": 1}}));
        assert_eq!(FlagType::of(&json!({"key": "a", "type": "string"})), Some(FlagType::String));
        assert_eq!(FlagType::of(&json!({"type": "colour"})), None);
        assert_eq!(read(&["de=true"], Some(FlagType::String)).expect("text"), json!({"de": "true"}));
        assert!(read(&["a=1", "a=2"], Some(FlagType::Integer)).is_err(), "twice");
        assert!(read(&["a=yes"], Some(FlagType::Boolean)).is_err(), "no JSON");
        assert!(read(&["=1"], None).is_err(), "no name");
    }
}

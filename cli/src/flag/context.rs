//! Who a flag is evaluated for: the options of `flag eval` and `flag explain`.

use clap::Args;
use serde_json::{Map, Value};

use crate::{failure::Failure, input};

/// For whom.
#[derive(Args, Debug)]
pub struct ContextArgs {
    /// The user or thing to evaluate for
    #[arg(short = 'k', long, value_name = "ID")]
    targeting_key: Option<String>,
    /// An attribute, NAME=VALUE; repeat for more. The value is JSON where it reads as JSON, else text
    #[arg(short, long = "attribute", value_name = "NAME=VALUE")]
    attributes: Vec<String>,
    /// All attributes as a JSON object, @FILE, or `-` for standard input
    #[arg(short, long, value_name = "JSON")]
    context: Option<String>,
}

impl ContextArgs {
    /// As the API takes it.
    pub fn context(&self) -> Result<Map<String, Value>, Failure> {
        input::context(self.context.as_deref(), &self.attributes, self.targeting_key.as_deref())
    }
}

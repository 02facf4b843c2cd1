//! One state of the copy, for several questions.

use std::{fmt, sync::Arc};

use serde_json::{Map, Value};

use crate::{answer, context::Context, details::Details, held::Held, shared::Shared};

/// The copy as it was at one moment: see [`crate::Client::view`]. Worth taking once for each request that asks for several
/// flags. Not worth keeping: it gets older, and answers by its age.
pub struct View {
    shared: Arc<Shared>,
    held: Option<Arc<Held>>,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("revision", &self.held.as_ref().and_then(|held| held.revision()))
            .finish()
    }
}

/// Getters of one type of flag.
macro_rules! getters {
    ($($what:literal $value:ident $details:ident $type:ty;)*) => {
        $(
            #[doc = concat!("The value of ", $what, " flag for a context; `default` where there is none to serve.")]
            #[inline]
            pub fn $value(&self, key: &str, context: &Context, default: $type) -> $type {
                answer::value(&self.shared, self.held.as_deref(), key, context, default)
            }

            #[doc = concat!("The same of ", $what, " flag, with all that is known of the answer.")]
            pub fn $details(&self, key: &str, context: &Context, default: $type) -> Details<$type> {
                answer::details(&self.shared, self.held.as_deref(), key, context, default)
            }
        )*
    };
}

impl View {
    pub(crate) fn of(shared: Arc<Shared>) -> Self {
        Self { held: shared.held.load_full(), shared }
    }

    /// Whether it is of this copy.
    #[inline]
    pub(crate) fn is_of(&self, held: Option<&Arc<Held>>) -> bool {
        match (&self.held, held) {
            (Some(ours), Some(held)) => Arc::ptr_eq(ours, held),
            (None, None) => true,
            _ => false,
        }
    }

    pub(crate) fn turn_to(&mut self, held: Option<Arc<Held>>) {
        self.held = held;
    }

    getters! {
        "a boolean" bool_value bool_details bool;
        "a string" string_value string_details String;
        "an integer" integer_value integer_details i64;
        "a number or an integer" number_value number_details f64;
        "an object" object_value object_details Map<String, Value>;
    }
}

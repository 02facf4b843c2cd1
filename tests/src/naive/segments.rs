//! Who is in a segment.

use serde_json::Value;

use super::{
    Context, Naive,
    attributes::{find, hash_input},
    given,
};

impl Naive<'_> {
    /// `depth` counts the segments around this one.
    pub(super) fn is_member(&self, key: &str, context: &Context, depth: usize) -> bool {
        self.mark("depth of segments", ["one", "two", "three"][depth.min(2)]);
        let segment = self.segment(key).unwrap_or_else(|| panic!("segment {key} was accepted"));
        // What the environment says replaces what the segment says, field by field.
        let field = |name: &str| -> Option<&Value> {
            let own = given(segment, "environments")
                .and_then(|environments| given(environments, self.environment))
                .and_then(|own| given(own, name));
            self.mark("segment's field", if own.is_some() { "the environment's" } else { "its own" });
            own.or_else(|| given(segment, name))
        };
        let lists = |name: &str, member: &str| {
            let members = field(name).and_then(Value::as_array);
            members.is_some_and(|members| members.iter().any(|listed| listed == member))
        };
        if let Some(user) = find(context, "targetingKey").and_then(hash_input) {
            if lists("included", &user) {
                self.mark("member", "included");
                return true;
            }
            if lists("excluded", &user) {
                self.mark("member", "excluded");
                return false;
            }
        }
        let Some(condition) = field("when") else {
            self.mark("member", "no condition");
            return false;
        };
        let holds = self.holds(condition, context, depth + 1);
        self.mark("member", if holds { "by its condition" } else { "not by its condition" });
        holds
    }
}

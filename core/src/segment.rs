//! Segments: named groups of users that rules refer to.

use std::{collections::BTreeMap, sync::Arc};

use imbl::OrdSet;
use serde::{Deserialize, Serialize};

use crate::{
    condition::{Condition, check_regexes},
    invalid::Invalid,
    key::{EnvironmentKey, SegmentKey},
    limits::{
        LONG_TEXT_BYTES_MAX, MATCH_VALUE_BYTES_MAX, SEGMENT_MEMBERS_MAX, SHORT_TEXT_BYTES_MAX,
        TARGET_VALUES_MAX,
    },
    text::check_text,
};

/// A segment as a person states it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentSpec {
    /// The segment's key.
    pub key: SegmentKey,
    /// A name for people. Default: empty.
    #[serde(default)]
    pub name: String,
    /// Who is in it. Default: empty.
    #[serde(default)]
    pub description: String,
    /// Targeting keys of those who are in, whatever else is said. Default: those who are in already; nobody in a new
    /// segment. So a segment can be put without its members, of whom there may be a million.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub included: Option<Vec<String>>,
    /// Targeting keys of those who are out, unless they are included. Default: as for `included`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excluded: Option<Vec<String>>,
    /// Who of the others is in. Default: nobody.
    #[serde(default)]
    pub when: Option<Condition>,
    /// What is different in an environment: each field given there replaces the one above. Default: nothing.
    #[serde(default)]
    pub environments: BTreeMap<EnvironmentKey, SegmentOverride>,
}

/// What is different about a segment in an environment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SegmentOverride {
    /// Those who are in, in place of the segment's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub included: Option<Vec<String>>,
    /// Those who are out, in place of the segment's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excluded: Option<Vec<String>>,
    /// Who of the others is in, in place of the segment's own condition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<Condition>,
}

/// One of a segment's two lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberList {
    /// Those who are in, whatever the segment's condition says.
    Included,
    /// Those who are out, unless they are included.
    Excluded,
}

impl MemberList {
    /// Its name, as in a segment's fields.
    pub fn name(self) -> &'static str {
        match self {
            Self::Included => "included",
            Self::Excluded => "excluded",
        }
    }
}

/// A valid segment. Its lists may have a million members: they are persistent sets, and a clone shares them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Everything but the lists, which are absent in it.
    spec: Arc<SegmentSpec>,
    included: OrdSet<Arc<str>>,
    excluded: OrdSet<Arc<str>>,
}

impl Segment {
    /// Checks a segment. What it names beyond itself, other segments, is checked by `apply`.
    ///
    /// # Errors
    /// [`Invalid`] with the path to the first fault.
    pub fn new(mut spec: SegmentSpec) -> Result<Self, Invalid> {
        check_text("the name", &spec.name, SHORT_TEXT_BYTES_MAX).map_err(|invalid| invalid.under("name"))?;
        check_text("the description", &spec.description, LONG_TEXT_BYTES_MAX)
            .map_err(|invalid| invalid.under("description"))?;
        if let Some(when) = &spec.when {
            when.validate().map_err(|invalid| invalid.under("when"))?;
        }
        for (environment, changes) in &spec.environments {
            changes.validate().map_err(|invalid| invalid.under(environment).under("environments"))?;
        }
        let overrides = spec.environments.values().filter_map(|changes| changes.when.as_ref());
        let regexes = spec.when.iter().chain(overrides).map(Condition::regexes);
        check_regexes(regexes.fold(0, usize::saturating_add))?;
        let (included, excluded) =
            (spec.included.take().unwrap_or_default(), spec.excluded.take().unwrap_or_default());
        let mut segment = Self { spec: Arc::new(spec), included: OrdSet::new(), excluded: OrdSet::new() };
        segment
            .add_members(MemberList::Included, &included)
            .map_err(|invalid| rename(invalid, "included"))?;
        segment
            .add_members(MemberList::Excluded, &excluded)
            .map_err(|invalid| rename(invalid, "excluded"))?;
        Ok(segment)
    }

    /// The segment's key.
    pub fn key(&self) -> &SegmentKey {
        &self.spec.key
    }

    /// The segment as a person states it, with its lists.
    pub fn to_spec(&self) -> SegmentSpec {
        let list = |members: &OrdSet<Arc<str>>| members.iter().map(ToString::to_string).collect();
        SegmentSpec {
            included: Some(list(&self.included)),
            excluded: Some(list(&self.excluded)),
            ..self.spec_without_members()
        }
    }

    /// The segment as a person states it, without its lists.
    pub fn spec_without_members(&self) -> SegmentSpec {
        (*self.spec).clone()
    }

    /// One of its lists.
    pub fn members(&self, list: MemberList) -> &OrdSet<Arc<str>> {
        match list {
            MemberList::Included => &self.included,
            MemberList::Excluded => &self.excluded,
        }
    }

    /// The segments that its conditions name.
    pub fn segments(&self) -> impl Iterator<Item = &SegmentKey> {
        let overrides = self.spec.environments.values().filter_map(|changes| changes.when.as_ref());
        self.spec.when.iter().chain(overrides).flat_map(Condition::segments)
    }

    /// An environment's own list, where it has one in place of the segment's.
    pub fn own_members(&self, environment: &EnvironmentKey, list: MemberList) -> Option<&[String]> {
        let changes = self.spec.environments.get(environment)?;
        match list {
            MemberList::Included => changes.included.as_deref(),
            MemberList::Excluded => changes.excluded.as_deref(),
        }
    }

    /// The condition that decides, in the environment, on those who are not listed.
    pub fn when(&self, environment: &EnvironmentKey) -> Option<&Condition> {
        self.own_when(environment).or(self.common_when())
    }

    /// An environment's own condition, where it has one in place of the segment's.
    pub(crate) fn own_when(&self, environment: &EnvironmentKey) -> Option<&Condition> {
        self.spec.environments.get(environment)?.when.as_ref()
    }

    /// The condition of all environments that have none of their own.
    pub(crate) fn common_when(&self) -> Option<&Condition> {
        self.spec.when.as_ref()
    }

    /// Whether another revision of it is known to have nothing different but the members of its lists: it was made of this
    /// one by adding and removing some.
    pub(crate) fn differs_only_in_members(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.spec, &other.spec)
    }

    /// Adds members to a list; says how many were not in it.
    ///
    /// # Errors
    /// [`Invalid`] for a member that is empty or too long, and for a list that would have too many.
    pub fn add_members(&mut self, list: MemberList, members: &[String]) -> Result<usize, Invalid> {
        check_members(members).map_err(|invalid| invalid.under("members"))?;
        let set = self.members_mut(list);
        let before = set.len();
        for member in members {
            if !set.contains(member.as_str()) {
                set.insert(member.as_str().into());
            }
        }
        if set.len() > SEGMENT_MEMBERS_MAX {
            return Err(Invalid::new(
                "/members",
                format!("the list would have {} members; at most {SEGMENT_MEMBERS_MAX} are kept", set.len()),
            ));
        }
        Ok(set.len().saturating_sub(before))
    }

    /// Removes members from a list; says how many were in it.
    pub fn remove_members(&mut self, list: MemberList, members: &[String]) -> usize {
        let set = self.members_mut(list);
        members.iter().filter(|member| set.remove(member.as_str()).is_some()).count()
    }

    /// Forgets what is different in an environment that goes; says whether anything was.
    pub(crate) fn forget_environment(&mut self, environment: &EnvironmentKey) -> bool {
        let differed = self.differs_in(environment);
        if differed {
            Arc::make_mut(&mut self.spec).environments.remove(environment);
        }
        differed
    }

    /// Whether it has anything different in the environment.
    pub fn differs_in(&self, environment: &EnvironmentKey) -> bool {
        self.spec.environments.contains_key(environment)
    }

    /// Replaces a list whose members were checked when they were added.
    pub(crate) fn set_members(&mut self, list: MemberList, members: OrdSet<Arc<str>>) {
        *self.members_mut(list) = members;
    }

    fn members_mut(&mut self, list: MemberList) -> &mut OrdSet<Arc<str>> {
        match list {
            MemberList::Included => &mut self.included,
            MemberList::Excluded => &mut self.excluded,
        }
    }
}

impl SegmentOverride {
    fn validate(&self) -> Result<(), Invalid> {
        if let Some(when) = &self.when {
            when.validate().map_err(|invalid| invalid.under("when"))?;
        }
        for (name, members) in [("included", &self.included), ("excluded", &self.excluded)] {
            let Some(members) = members else { continue };
            if members.len() > TARGET_VALUES_MAX {
                return Err(Invalid::here(format!(
                    "an environment's own list has at most {TARGET_VALUES_MAX} members; use a second segment for more"
                ))
                .under(name));
            }
            check_members(members).map_err(|invalid| invalid.under(name))?;
        }
        Ok(())
    }
}

/// Checks members of a list, each by itself. The path is relative to the list.
pub(crate) fn check_members(members: &[String]) -> Result<(), Invalid> {
    match members.iter().position(|member| member.is_empty() || member.len() > MATCH_VALUE_BYTES_MAX) {
        Some(index) => {
            Err(Invalid::here(format!("a member has 1 to {MATCH_VALUE_BYTES_MAX} bytes")).under(index))
        }
        None => Ok(()),
    }
}

fn rename(invalid: Invalid, list: &str) -> Invalid {
    Invalid::new(invalid.path.replacen("/members", &format!("/{list}"), 1), invalid.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(json: &str) -> Result<Segment, Invalid> {
        Segment::new(serde_json::from_str(json).expect(json))
    }

    #[test]
    fn members_come_and_go_and_a_clone_is_not_touched() {
        let mut staff = segment(r#"{"key": "staff", "included": ["ann"]}"#).expect("valid");
        let before = staff.clone();
        assert_eq!(staff.add_members(MemberList::Included, &["ann".into(), "bob".into()]), Ok(1));
        assert_eq!(staff.remove_members(MemberList::Included, &["ann".into(), "eve".into()]), 1);
        assert_eq!(staff.to_spec().included, Some(vec!["bob".to_owned()]));
        assert_eq!(before.to_spec().included, Some(vec!["ann".to_owned()]));
    }

    #[test]
    fn an_environment_replaces_what_it_names() {
        let staff = segment(
            r#"{"key": "staff", "included": ["ann"], "excluded": ["bob"], "environments": {"dev": {"included": ["bob"]}}}"#,
        )
        .expect("valid");
        let (dev, production) =
            (EnvironmentKey::new("dev").expect("valid"), EnvironmentKey::new("production").expect("valid"));
        assert_eq!(staff.own_members(&dev, MemberList::Included), Some(["bob".to_owned()].as_slice()));
        assert_eq!(staff.own_members(&dev, MemberList::Excluded), None);
        assert_eq!(staff.own_members(&production, MemberList::Included), None);
    }

    #[test]
    fn faults_point_at_the_member() {
        let fault = segment(r#"{"key": "staff", "excluded": ["ann", ""]}"#).expect_err("empty member");
        assert_eq!(fault.path, "/excluded/1");
        let own = r#"{"key": "staff", "environments": {"dev": {"included": ["ann", "bob", ""]}}}"#;
        let fault = segment(own).expect_err("empty member");
        assert_eq!(fault.path, "/environments/dev/included/2");
        let many =
            serde_json::json!({"key": "staff", "environments": {"dev": {"excluded": vec!["a"; 10_001]}}});
        let fault = segment(&many.to_string()).expect_err("too many");
        assert_eq!(fault.path, "/environments/dev/excluded");
    }

    #[test]
    fn the_regular_expressions_of_all_environments_count_together() {
        let when = |count: usize| {
            let condition = serde_json::json!({"attribute": "a", "op": "matches", "values": ["^a$"]});
            serde_json::json!({"any": vec![condition; count]})
        };
        let with = |common: usize, dev: usize, qa: usize| {
            let own = serde_json::json!({"dev": {"when": when(dev)}, "qa": {"when": when(qa)}});
            let spec = serde_json::json!({"key": "staff", "when": when(common), "environments": own});
            segment(&spec.to_string())
        };
        assert!(with(40, 30, 30).is_ok());
        let fault = with(40, 30, 31).expect_err("too many");
        assert!(fault.path.is_empty() && fault.message.contains("101 regular expressions"), "{fault:?}");
    }
}

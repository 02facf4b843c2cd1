//! Every limit of the domain, in one place. Raising one is a change of what `apply` accepts, so it
//! belongs behind the cluster version.

/// Bytes of a flag key.
pub const FLAG_KEY_BYTES_MAX: usize = 256;
/// Bytes of a variant key, a rule id or a segment key.
pub const NAME_KEY_BYTES_MAX: usize = 128;
/// Bytes of a project or environment key.
pub const SLUG_BYTES_MAX: usize = 64;
/// Bytes of a variant's value, as compact JSON.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;
/// Levels of objects and arrays within one JSON value that a person gives: an object variant, the context of a test
/// or of a token. The value itself is the first. Entries, rows and records nest these values deeper, and their JSON is
/// read with a limit of 127 levels: what is stored must be far from it.
pub const JSON_DEPTH_MAX: usize = 32;
/// Variants of one flag.
pub const VARIANTS_MAX: usize = 100;
/// Bytes of a flag's definition, as compact JSON.
pub const FLAG_DEFINITION_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a flag's configuration in one environment, as compact JSON. Whether it is on does not count: that is changed
/// at any size.
pub const FLAG_CONFIGURATION_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a flag's definition and all its configurations together, counted in the same way. They are one row: this is
/// what a change of any part of the flag writes.
pub const FLAG_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Rules of one flag in one environment.
pub const RULES_MAX: usize = 200;
/// Conditions of one flag in one environment, and of one segment; every node of a tree counts.
pub const CONDITIONS_MAX: usize = 1_000;
/// Levels of conditions within one `when`.
pub const CONDITION_DEPTH_MAX: usize = 16;
/// Values of one condition.
pub const CONDITION_VALUES_MAX: usize = 10_000;
/// Bytes of a regular expression of a `matches` condition.
pub const REGEX_BYTES_MAX: usize = 1_024;
/// Bytes of memory of the compiled regular expressions of one condition.
pub const REGEX_COMPILED_BYTES_MAX: usize = 256 * 1024;
/// Bytes of memory that matching one condition's regular expressions may use for speed, for each thread that does.
pub const REGEX_SCRATCH_BYTES_MAX: usize = 64 * 1024;
/// Regular expressions of one flag in one environment, and of one segment, its environments' own conditions included. They
/// are what takes time to compile.
pub const REGEXES_MAX: usize = 100;
/// Bytes of a condition's text. Enough for the text of every condition that an entry can hold, so that each can be read
/// back: a character that is one byte in JSON may be six in the text (`\u007f`).
pub const EXPRESSION_BYTES_MAX: usize = 8 * ENTRY_BYTES_MAX;
/// Values of all targets of one flag in one environment.
pub const TARGET_VALUES_MAX: usize = 10_000;
/// Prerequisites of one flag in one environment.
pub const PREREQUISITES_MAX: usize = 100;
/// Flags in one chain of prerequisites, the first one included.
pub const PREREQUISITE_DEPTH_MAX: usize = 16;
/// Segments in one chain of segments, the first one included.
pub const SEGMENT_DEPTH_MAX: usize = 16;
/// Members of one list of a segment.
pub const SEGMENT_MEMBERS_MAX: usize = 1_000_000;
/// Bytes of one member of a segment, of one value of a target and of one text value of a condition.
pub const MATCH_VALUE_BYTES_MAX: usize = 1_024;
/// Bytes of an attribute's name (or path) and of a rollout's seed.
pub const ATTRIBUTE_BYTES_MAX: usize = 256;
/// Greatest total of a rollout's weights, and the greatest `of` of a bucket condition.
pub const WEIGHT_TOTAL_MAX: u32 = i32::MAX as u32;
/// Bytes of a short text: a name, an owner, a title, a tag, a metadata key.
pub const SHORT_TEXT_BYTES_MAX: usize = 256;
/// Bytes of a long text: a description, exit criteria, a metadata value, a URL.
pub const LONG_TEXT_BYTES_MAX: usize = 4_096;
/// Tags of one flag.
pub const TAGS_MAX: usize = 50;
/// Links of one flag.
pub const LINKS_MAX: usize = 20;
/// Metadata entries of one flag.
pub const METADATA_MAX: usize = 50;
/// Tests of one flag.
pub const TESTS_MAX: usize = 100;
/// Bytes of the context of one of a flag's tests, as compact JSON.
pub const TEST_CONTEXT_BYTES_MAX: usize = 16 * 1024;
/// Attributes of one evaluation context. Evaluation is right with more too, only slower with each, so that this is for
/// whoever lets contexts in from outside; what is evaluated is not refused for it.
pub const CONTEXT_ATTRIBUTES_MAX: usize = 1_000;
/// Flags of one project that are neither archived nor deleted.
pub const FLAGS_MAX: usize = 50_000;
/// Flag keys of one project, those of archived and deleted flags included: a deleted key stays taken.
pub const FLAG_KEYS_MAX: usize = 200_000;
/// Members that a record names of those that a `segment.put` removes. Of more it keeps their number and hash.
pub const RECORDED_MEMBERS_MAX: usize = 1_000;
/// Greatest magnitude of an integer value: what a double holds exactly, 2^53 - 1.
pub const INTEGER_MAX: i64 = (1 << 53) - 1;
/// Greatest `max_age_ms` and `grace_ms`: one day, in milliseconds.
pub const AGE_MAX_MS: u64 = 24 * 60 * 60 * 1_000;
/// Operations of one change.
pub const OPERATIONS_MAX: usize = 100;
/// Bytes of one entry of the log: a proposal as JSON.
pub const ENTRY_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of all values before and after that one record keeps, as compact JSON. Beyond them a value's size and hash
/// stand for it.
pub const RECORD_VALUES_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of a value before or after that a record keeps however many others there are.
pub const RECORD_SMALL_VALUE_BYTES_MAX: usize = 256;
/// Bytes of what a report of counts says, as compact JSON: its record has at most 64 KiB with the rest that records have.
pub const REPORT_BYTES_MAX: usize = 56 * 1024;
/// Bytes of the list of flags in one report that had more evaluations than are listed singly, as compact JSON.
pub const EXCEEDED_BYTES_MAX: usize = 8 * 1024;
/// The longest time that one report of a program counts, in milliseconds.
pub const REPORT_SPAN_MS_MAX: i64 = 24 * 60 * 60 * 1_000;
/// Reporters beside the nodes of which the state knows the last report. The one that was silent longest makes room.
pub const REPORTERS_MAX: usize = 10_000;
/// Those of them that report with one token. Of these too the one that was silent longest makes room.
pub const REPORTERS_OF_TOKEN_MAX: usize = 1_000;
/// Bytes of an instance's name: what tells those apart who report with one token.
pub const INSTANCE_BYTES_MAX: usize = 64;
/// Bytes of a change's reason.
pub const REASON_BYTES_MAX: usize = 1_024;
/// Bytes of a ticket.
pub const TICKET_BYTES_MAX: usize = 128;
/// Bytes of a ticket pattern.
pub const TICKET_PATTERN_BYTES_MAX: usize = 1_024;
/// Bytes of memory of a compiled ticket pattern.
pub const TICKET_PATTERN_COMPILED_BYTES_MAX: usize = 64 * 1024;
/// Grants of one token.
pub const GRANTS_MAX: usize = 100;
/// Attributes in a token's context.
pub const TOKEN_CONTEXT_MAX: usize = 50;
/// Bytes of a token's context, as compact JSON.
pub const TOKEN_CONTEXT_BYTES_MAX: usize = 8 * 1024;
/// Projects of one group.
pub const PROJECTS_MAX: usize = 1_000;
/// Environments of one project.
pub const ENVIRONMENTS_MAX: usize = 100;
/// Segments of one project.
pub const SEGMENTS_MAX: usize = 10_000;
/// Tokens of one group. Of those that are revoked or expired the one that has been so for longest makes room.
pub const TOKENS_MAX: usize = 100_000;
/// Signing keys of one group, revoked ones included: they stay, so that what they signed can be checked.
pub const SIGNING_KEYS_MAX: usize = 10_000;
/// How long a request id is remembered at least, in milliseconds of record time.
pub const REQUESTS_REMEMBERED_MS: i64 = 15 * 60 * 1_000;
/// For how many further records a request id is remembered, whatever their times are: what record time says follows the wall
/// clock of whoever leads, and that may jump.
pub const REQUESTS_REMEMBERED_RECORDS: u64 = 4_096;
/// Request ids remembered at once.
pub const REQUESTS_REMEMBERED_MAX: usize = 262_144;
/// Of those, the ones that no client gave: they leave room for the ones that clients gave.
pub const REQUESTS_MINTED_REMEMBERED_MAX: usize = 65_536;
/// Node ids that one cluster ever gives away: they are used once, so all of them are remembered.
pub const SEATS_MAX: usize = 4_096;
/// Audit keys of one node that it may sign with.
pub const AUDIT_KEYS_ACTIVE_MAX: usize = 4;
/// Audit keys of one node that are listed, those that were retired among them.
pub const AUDIT_KEYS_MAX: usize = 100;
/// Legal holds on the audit log at once.
pub const AUDIT_HOLDS_MAX: usize = 1_000;
/// Audit records that one change removes.
pub const AUDIT_REMOVED_MAX: u64 = 10_000;
/// Bytes of one part of the catalog that stands for removed changes: an entry has room for them in Base64, with the rest.
pub const EDGE_PART_BYTES_MAX: usize = 512 * 1024;
/// Parts of such a catalog.
pub const EDGE_PARTS_MAX: u32 = 1_000;
/// Days for which records may be kept that are not kept for ever: a hundred years.
pub const RETENTION_DAYS_MAX: u32 = 36_500;
/// Greatest time that a join token is good for, in milliseconds: one week.
pub const JOIN_TOKEN_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1_000;

//! OFREP's stream of notices: that the flags of an environment, or what is served of them, may not be what they were.

use axum::{
    body::Bytes,
    extract::{RawQuery, State},
    http::{HeaderMap, Method},
    response::Response,
};
use flagraft_core::{flag::Exposure, identity::RevisionToken, project::Flag, token::TokenKind};
use serde::Serialize;
use std::time::Instant;

use super::{failure::Failure, gate::withheld, request::parameter, ticket};
use crate::{
    feed::{Ended, StreamKind, Taken, frame},
    http::{
        App,
        consistency::View,
        error::ApiError,
        stream::{Session, Speaks, Turn, answer, answer_to_head, last_event_id, reached},
    },
};

/// The path of the stream, in front of a ticket.
pub(super) const REQUEST_URI: &str = "/ofrep/v1/stream?ticket=";

/// That all flags are to be evaluated again.
#[derive(Serialize)]
struct Refetch {
    #[serde(rename = "type")]
    kind: &'static str,
    /// What the receiver hands on as `flagConfigEtag`: the answer must not be older than this.
    etag: String,
}

/// A stream of notices.
pub(in crate::http) async fn open(
    method: Method,
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let opened = begin(&app, &method, query.as_deref(), &headers).await;
    opened.unwrap_or_else(|error| Failure::from(error).answer(&app, None))
}

async fn begin(
    app: &App,
    method: &Method,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let ticket = parameter(query, "ticket").ok_or_else(|| {
        ApiError::unauthenticated(
            "the parameter ticket is missing; take the address from eventStreams of an answer with all flags",
        )
    })?;
    let token = ticket::admit(app, &ticket).await?;
    let kind = token.spec.kind;
    if kind == TokenKind::Client {
        app.client_rate.take(&token.spec.id, Instant::now()).map_err(|wait| {
            app.node.metrics().rate_limited("client_token");
            ApiError::too_many_requests(
                "this client token asks too often; wait, and connect less often",
                wait,
            )
        })?;
    }
    let place = token.spec.evaluates().map(|(project, environment)| (project.clone(), environment.clone()));
    let place =
        place.ok_or_else(|| ApiError::forbidden("this ticket's token evaluates in no environment"))?;
    let last = last_event_id(headers)?;
    if let Some(last) = last {
        // What the receiver has may be newer than what is here. One that is not told otherwise asks again after it has
        // come; and what is said of an older state is better than nothing.
        let deadline = app.options.read_deadline.default;
        _ = app.node.reads().await_revision(last, deadline).await.is_ok();
    }
    let view = View::local(app);
    if *method == Method::HEAD {
        return Ok(view.stamp.answer(answer_to_head()));
    }
    let gone = || {
        let (project, environment) = &place;
        ApiError::not_found("environment", format!("{project}/{environment}")).stamped(&view.stamp)
    };
    // All that was published before is heard of at once: the environment may be that new.
    reached(app, &view, app.options.read_deadline.default).await?;
    let follower = app.node.feed().follow(&place, None).ok_or_else(gone)?;
    let session = Session::open(app, StreamKind::Notices, &token, place.clone(), follower)
        .map_err(|error| error.stamped(&view.stamp))?;
    let mut notices = Notices { session, kind, told: last, depends: None, served: None };
    let mut first = notices.news().map_err(|_| gone())?;
    if first.is_empty() {
        first.push(frame::COMMENT);
    }
    Ok(view.stamp.answer(answer(notices, first)))
}

/// A stream of notices.
struct Notices {
    session: Session,
    kind: TokenKind,
    /// The state that the receiver was told of last.
    told: Option<RevisionToken>,
    /// Whether any flag that it sees depends on whether it is confirmed, in the state that is named.
    depends: Option<(RevisionToken, bool)>,
    /// How such flags were served when it was told last. `None` at first: what was served with the state that it has seen,
    /// by another node or before a turn of this one, is not known.
    served: Option<Served>,
}

/// How flags are served that depend on whether they are confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Served {
    /// How often this node had begun or ceased to confirm.
    turns: u64,
    /// How many flags it does not serve as they are known, since nobody confirms them.
    withheld: usize,
}

impl Speaks for Notices {
    fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    async fn next(&mut self) -> Result<Vec<Bytes>, Ended> {
        let turn = self.session.turn().await?;
        let mut pieces = self.news()?;
        if turn == Turn::Heartbeat && pieces.is_empty() {
            self.session.sent("heartbeat");
            pieces.push(frame::COMMENT);
        }
        if !pieces.is_empty() {
            self.session.beats();
        }
        Ok(pieces)
    }
}

impl Notices {
    /// One notice, if anything has changed: several changes are one to whoever asks for all flags again.
    fn news(&mut self) -> Result<Vec<Bytes>, Ended> {
        loop {
            match self.session.follower.take() {
                Taken::Changes { is_all: true, .. } => break,
                Taken::Changes { is_all: false, .. } => {}
                // Whatever was missed is said by the next notice.
                Taken::Anew | Taken::Lost => {
                    let published = self.session.app.node.published();
                    if !self.session.follower.begin_at(&published.state, &self.session.place) {
                        return Err(Ended::Deleted);
                    }
                }
                Taken::Deleted => return Err(Ended::Deleted),
            }
        }
        let Some((seen, environment_revision)) = self.session.follower.seen() else { return Ok(Vec::new()) };
        let now = RevisionToken { history: seen.history, revision: environment_revision };
        let served = self.depends(now).then(|| self.serves());
        let is_served_otherwise = served.is_some() && served != self.served;
        self.served = served;
        if self.told == Some(now) && !is_served_otherwise {
            return Ok(Vec::new());
        }
        self.told = Some(now);
        let refetch = Refetch { kind: "refetchEvaluation", etag: now.to_string() };
        let event = frame::event("message", now, &refetch).map_err(|error| {
            tracing::error!(%error, "a notice could not be written");
            Ended::Failed
        })?;
        self.session.sent("refetch");
        Ok(vec![event])
    }

    /// Whether any flag that the receiver sees depends on whether it is confirmed. Worked out once for each state.
    fn depends(&mut self, now: RevisionToken) -> bool {
        match self.depends {
            Some((at, depends)) if at == now => depends,
            _ => {
                // At the greatest age all are withheld that ever are.
                let depends = self.withheld(None) > 0;
                self.depends = Some((now, depends));
                depends
            }
        }
    }

    fn serves(&self) -> Served {
        let reads = self.session.app.node.reads();
        // In this order: a turn that comes between is seen the next time.
        let turns = reads.suspect_turns();
        // As the age grows, more flags are beyond their bound, or their grace.
        let withheld = if reads.is_suspect() { self.withheld(reads.age_ms()) } else { 0 };
        Served { turns, withheld }
    }

    /// How many flags that the receiver sees are not served as they are known when nobody confirms them, at this age;
    /// `None`: at the greatest.
    fn withheld(&self, age_ms: Option<u64>) -> usize {
        let published = self.session.app.node.published();
        let (project, environment) = &self.session.place;
        let sees =
            |flag: &Flag| self.kind != TokenKind::Client || flag.definition.exposure == Exposure::Client;
        let compiled = published.catalog.environment(project, environment);
        compiled.map_or(0, |compiled| withheld(compiled, sees, age_ms))
    }
}

//! A route: the method and path that the router serves **and** what the OpenAPI document says of them. Both are made
//! from the same value, so neither can know a route that the other does not.

use axum::{
    handler::Handler,
    http::Method,
    routing::{MethodFilter, MethodRouter, on},
};

use super::App;

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callers {
    /// Anybody, without a token.
    Anyone,
    /// Holders of a service or client token.
    Evaluators,
    /// Holders of a ticket, which stands in the query.
    Tickets,
    /// Holders of an admin token, as far as its grants go.
    Admins,
    /// Holders of an admin or service token.
    Observers,
    /// Holders of a service token.
    Services,
}

impl Callers {
    /// The kinds of token that may call; none where no token is asked for.
    pub fn token_kinds(self) -> &'static [&'static str] {
        match self {
            Self::Anyone | Self::Tickets => &[],
            Self::Evaluators => &["service", "client"],
            Self::Admins => &["admin"],
            Self::Observers => &["admin", "service"],
            Self::Services => &["service"],
        }
    }
}

/// The part of the API that a route belongs to: how the document groups them, and which headers they take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// OpenFeature's remote evaluation protocol.
    Ofrep,
    /// Reads of the catalog, the audit log and the like.
    Read,
    /// Changes.
    Write,
    /// Reports of what others did than nodes.
    Report,
    /// How the node and its cluster do.
    Status,
}

/// One route.
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, with `{names}`.
    pub path: &'static str,
    /// The operation's id in the document.
    pub id: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// Who may call it.
    pub callers: Callers,
    /// The part of the API it belongs to.
    pub part: Part,
    /// Its query parameters, by name.
    pub query: Vec<&'static str>,
    /// The schema of its JSON body.
    pub body: Option<&'static str>,
    /// The schema of its answer.
    pub answer: Option<&'static str>,
    pub(super) handler: MethodRouter<App>,
}

impl Route {
    fn new<H, T>(
        method: Method,
        filter: MethodFilter,
        path: &'static str,
        handler: H,
        id: &'static str,
    ) -> Self
    where
        H: Handler<T, App>,
        T: 'static,
    {
        let handler = on(filter, handler);
        let (part, callers) = (Part::Read, Callers::Admins);
        Self {
            method,
            path,
            id,
            summary: "",
            callers,
            part,
            query: Vec::new(),
            body: None,
            answer: None,
            handler,
        }
    }

    /// Says what it does.
    pub(super) fn says(self, summary: &'static str) -> Self {
        Self { summary, ..self }
    }

    /// Belongs to OFREP.
    pub(super) fn ofrep(self) -> Self {
        Self { part: Part::Ofrep, callers: Callers::Evaluators, ..self }
    }

    /// Is open to tickets alone.
    pub(super) fn with_a_ticket(self) -> Self {
        Self { callers: Callers::Tickets, ..self }
    }

    /// Reads, though it takes a body; these callers may.
    pub(super) fn reads(self, callers: Callers) -> Self {
        Self { part: Part::Read, callers, ..self }
    }

    /// Takes reports of these callers.
    pub(super) fn reports(self, callers: Callers) -> Self {
        Self { part: Part::Report, callers, ..self }
    }

    /// Tells how the node does, to these callers.
    pub(super) fn status(self, callers: Callers) -> Self {
        Self { part: Part::Status, callers, ..self }
    }

    /// Takes these query parameters too.
    pub(super) fn query(mut self, query: &[&'static str]) -> Self {
        self.query.extend(query);
        self
    }

    /// Takes a body of this schema.
    pub(super) fn takes(self, schema: &'static str) -> Self {
        Self { body: Some(schema), ..self }
    }

    /// Answers with this schema.
    pub(super) fn gives(self, schema: &'static str) -> Self {
        Self { answer: Some(schema), ..self }
    }

    fn writes(self) -> Self {
        Self { part: Part::Write, answer: Some("Written"), ..self }
    }
}

macro_rules! methods {
    ($($name:ident => $method:ident $(, $writes:ident)?;)*) => {
        $(
            pub(super) fn $name<H, T>(path: &'static str, handler: H, id: &'static str) -> Route
            where
                H: Handler<T, App>,
                T: 'static,
            {
                Route::new(Method::$method, MethodFilter::$method, path, handler, id)$(.$writes())?
            }
        )*
    };
}

methods! {
    get => GET;
    post => POST, writes;
    put => PUT, writes;
    patch => PATCH, writes;
    delete => DELETE, writes;
}

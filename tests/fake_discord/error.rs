//! Discord's error answers: HTTP status, JSON code and message (topics/Opcodes and Status Codes).

use axum::http::StatusCode;
use serde_json::{Value, json};

/// A refusal, as the bot gets it.
#[derive(Clone, Debug)]
pub struct ApiError {
    pub status: StatusCode,
    pub body: Value,
}

impl ApiError {
    fn new(status: StatusCode, code: u32, message: &str) -> Self {
        Self { status, body: json!({ "code": code, "message": message }) }
    }

    /// 50035: `field` of the request is wrong, for `reason` with Discord's name `code`.
    pub fn invalid_form(field: &str, code: &str, reason: &str) -> Self {
        let leaf = json!({ "_errors": [{ "code": code, "message": reason }] });
        let errors = field.rsplit('.').fold(leaf, |inner, name| json!({ name: inner }));
        Self {
            status: StatusCode::BAD_REQUEST,
            body: json!({ "code": 50035, "message": "Invalid Form Body", "errors": errors }),
        }
    }

    /// A request that is too long in `field`.
    pub fn too_long(field: &str, characters_max: usize) -> Self {
        Self::invalid_form(
            field,
            "BASE_TYPE_MAX_LENGTH",
            &format!("Must be {characters_max} or fewer in length."),
        )
    }
}

macro_rules! errors {
    ($($name:ident = $status:ident $code:literal $message:literal;)+) => {
        impl ApiError {
            $(
                #[doc = concat!(stringify!($code), ": ", $message)]
                pub fn $name() -> Self {
                    Self::new(StatusCode::$status, $code, $message)
                }
            )+
        }
    };
}

errors! {
    unauthorized = UNAUTHORIZED 0 "401: Unauthorized";
    no_such_route = NOT_FOUND 0 "404: Not Found";
    no_such_method = METHOD_NOT_ALLOWED 0 "405: Method Not Allowed";
    unreadable_json = BAD_REQUEST 50109 "The request body contains invalid JSON.";
    unknown_channel = NOT_FOUND 10003 "Unknown Channel";
    unknown_guild = NOT_FOUND 10004 "Unknown Guild";
    unknown_member = NOT_FOUND 10007 "Unknown Member";
    unknown_message = NOT_FOUND 10008 "Unknown Message";
    unknown_user = NOT_FOUND 10013 "Unknown User";
    unknown_emoji = BAD_REQUEST 10014 "Unknown Emoji";
    unknown_webhook = NOT_FOUND 10015 "Unknown Webhook";
    unknown_interaction = NOT_FOUND 10062 "Unknown interaction";
    unknown_command = NOT_FOUND 10063 "Unknown application command";
    too_many_reactions = BAD_REQUEST 30010 "Maximum number of reactions reached (20)";
    too_many_commands = BAD_REQUEST 30032 "Maximum number of application commands reached";
    too_many_command_creations = BAD_REQUEST 30034 "Maximum number of daily application command creates has been reached (200)";
    entity_too_large = PAYLOAD_TOO_LARGE 40005 "Request entity too large";
    already_acknowledged = BAD_REQUEST 40060 "Interaction has already been acknowledged.";
    missing_access = FORBIDDEN 50001 "Missing Access";
    not_in_direct_channels = FORBIDDEN 50003 "Cannot execute action on a DM channel";
    authored_by_another = FORBIDDEN 50005 "Cannot edit a message authored by another user";
    empty_message = BAD_REQUEST 50006 "Cannot send an empty message";
    cannot_message_user = FORBIDDEN 50007 "Cannot send messages to this user";
    not_a_text_channel = BAD_REQUEST 50008 "Cannot send messages in a non-text channel";
    missing_permissions = FORBIDDEN 50013 "Missing Permissions";
    bulk_delete_count = BAD_REQUEST 50016 "Provided too few or too many messages to delete. Must provide at least 2 and fewer than 100 messages to delete";
    wrong_channel_type = BAD_REQUEST 50024 "Cannot execute action on this channel type";
    invalid_webhook_token = UNAUTHORIZED 50027 "Invalid Webhook Token";
    bulk_delete_age = BAD_REQUEST 50034 "A message provided was too old to bulk delete";
    thread_archived = BAD_REQUEST 50083 "Thread is archived";
    reaction_blocked = FORBIDDEN 90001 "Reaction was blocked";
    reply_needs_history = BAD_REQUEST 160_002 "Cannot reply without permission to read message history";
    server_error = INTERNAL_SERVER_ERROR 0 "500: Internal Server Error";
}

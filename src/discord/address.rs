//! Which messages deserve an answer.

use super::message::{AuthorKind, Me, Message, MessageKind};

/// Whether the bot answers a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    /// Somebody speaks to the bot.
    ToMe,
    /// It is not for the bot, which stays silent.
    Elsewhere,
}

/// Reads from the message alone whether somebody speaks to the bot: a mention of it, a reply to it
/// or a private message. Bots, webhooks and Discord's own reports never do.
pub fn address(message: &Message, me: &Me) -> Address {
    let by_person = message.author.kind == AuthorKind::Person && message.kind == MessageKind::Said;
    let mentioned = message.mentions.iter().any(|mention| mention.id == me.id);
    let replied = message
        .reply_to
        .as_ref()
        .and_then(|target| target.message.as_ref())
        .is_some_and(|target| target.author.id == me.id);
    let privately = message.guild.is_none();
    if by_person && (mentioned || replied || privately) {
        Address::ToMe
    } else {
        Address::Elsewhere
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{me, mentioning, message, replying};
    use super::*;

    #[test]
    fn a_mention_and_a_reply_are_for_the_bot_and_nothing_else_is() {
        let to = |message: &Message| address(message, &me());
        assert_eq!(to(&mentioning(message(1, "hi"), &me())), Address::ToMe);
        let mut mine = message(1, "hello");
        mine.author.id = me().id;
        assert_eq!(to(&replying(message(2, "thanks"), &mine)), Address::ToMe);

        assert_eq!(to(&message(1, "Shutterbug is nice")), Address::Elsewhere);
        assert_eq!(to(&replying(message(2, "no"), &message(1, "yes"))), Address::Elsewhere);
    }

    #[test]
    fn a_private_message_is_for_the_bot() {
        let privately = Message { guild: None, ..message(1, "hi") };
        assert_eq!(address(&privately, &me()), Address::ToMe);
    }

    #[test]
    fn bots_webhooks_reports_and_the_bot_itself_are_never_answered() {
        for kind in [AuthorKind::Bot, AuthorKind::Webhook, AuthorKind::Myself] {
            let mut said = mentioning(message(1, "hi"), &me());
            said.author.kind = kind;
            assert_eq!(address(&said, &me()), Address::Elsewhere, "{kind:?}");
        }
        let mut pinned = mentioning(message(1, ""), &me());
        pinned.kind = MessageKind::Report;
        assert_eq!(address(&pinned, &me()), Address::Elsewhere);
    }
}

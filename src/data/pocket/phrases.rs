//! What B says. Slots in braces are filled by [`super::words`]. Of every bank a few phrasings are
//! held out: training never sees them.

/// The phrasings of one intention. Where none is held out, all are trained.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bank {
    pub(super) trained: &'static [&'static str],
    pub(super) held_out: &'static [&'static str],
}

pub(super) const ASK: Bank = Bank {
    trained: &[
        "Can you show me {a} {p}?",
        "Please show me {a} {p}.",
        "Can you draw {a} {p}?",
        "Show me {a} {p}!",
        "Could you show me {a} {p}?",
        "Do you have any photo of {a} {p}?",
        "I'd like a picture of {a} {p}.",
        "Please draw {a} {p}.",
        "Draw me a picture of {a} {p}.",
        "Send me a photo of {a} {p}, please.",
        "I'd love to see {a} {p}.",
        "I want to see {a} {p}.",
        "Do you have a picture of {a} {p}?",
        "Do you have {a} {p}?",
        "Could you send me a photo of {a} {p}?",
        "I'm looking for a photo of {a} {p}.",
        "What does {a} {p} look like?",
        "{A} {p}, please!",
        "Let me see {a} {p}.",
        "Can I see {a} {p}?",
        "Could you paint {a} {p} for me?",
        "I have never seen {a} {p}. Can you show me one?",
        "Imagine {a} {p}. What would that look like?",
        "My sister would love {a} {p}. Can you make one?",
        "For my wall I'd like {a} {p}.",
        "Make me happy with a picture of {a} {p}, please.",
        "I dreamed of {a} {p}. Can you draw that?",
    ],
    held_out: &[
        "Would you draw {a} {p} for me?",
        "May I see {a} {p}?",
        "How about {a} {p}?",
        "I'd like {a} {p}, please.",
        "Is there a picture of {a} {p}?",
    ],
};

pub(super) const ASK_OBJECT: Bank = Bank {
    trained: &[
        "Can you show me a {o}?",
        "Do you have a photo of a {o}?",
        "I'd like to see a {o}.",
        "Send me a picture of a {o}.",
        "Please draw a {o}.",
        "A photo of a {o}, please!",
        "Show me a {o}, any {o}.",
        "Do you have a {o}?",
        "What does your {o} look like?",
        "I love {os}. Can I see one?",
    ],
    held_out: &["Would you draw a {o}?", "Any {o} will do.", "May I see a {o}?"],
};

pub(super) const ASK_COLOURED: Bank = Bank {
    trained: &[
        "Can you show me {ac} {o}?",
        "I'd like to see {ac} {o}.",
        "Please draw a picture of {ac} {o}.",
        "A photo of {ac} {o}, please!",
        "Do you have {ac} {o}?",
        "Where could I see {ac} {o}?",
        "I have never seen {ac} {o}.",
    ],
    held_out: &["Would you draw {ac} {o}?", "How about {ac} {o}?"],
};

pub(super) const ASK_PLACE: Bank = Bank {
    trained: &[
        "Show me something {p}.",
        "What can I see {p}?",
        "Draw something {p}, please.",
        "I'd like to see something {p}.",
        "Do you have a photo of something {p}?",
    ],
    held_out: &["Is there anything to see {p}?", "Paint something {p}."],
};

pub(super) const ASK_ANYTHING: Bank = Bank {
    trained: &[
        "Show me something nice.",
        "Send me any picture you like.",
        "Surprise me with a picture!",
        "I need something pretty to look at.",
        "Do you have a photo for me?",
        "Draw whatever you like.",
        "Cheer me up with a photo!",
    ],
    held_out: &["What can you draw?", "Show me what you have."],
};

pub(super) const ASK_DAY: Bank = Bank {
    trained: &[
        "What did you do today?",
        "How was your day?",
        "What's new?",
        "Did you go out today?",
        "Anything new?",
        "What have you seen today?",
        "Tell me about your day.",
        "Where have you been?",
        "What did you see this morning?",
        "Did you have a good day?",
    ],
    held_out: &["What were you up to today?", "Did anything happen today?", "How did your day go?"],
};

pub(super) const REQUEST: Bank = Bank {
    trained: &[
        "Can I see it?",
        "Show me!",
        "Oh, show me, please!",
        "Can you show me?",
        "Do you have a picture?",
        "Do you have a photo of it?",
        "Send me a picture, please.",
        "Oh, I want to see that!",
        "Let me see!",
        "May I see the {o}?",
        "Please share it!",
        "I'd like to see that {o}.",
        "What did it look like?",
        "I want a look at it!",
    ],
    held_out: &["Could I have a look?", "Mind showing me?", "Pictures, please!", "Let me have it!"],
};

pub(super) const CALL: Bank = Bank {
    trained: &[
        "I bet it looks lovely.",
        "I wish I had been there.",
        "That must have been a nice sight.",
        "I can hardly imagine that.",
        "I don't believe you.",
        "You're making that up!",
        "{Ac} {o}? Really?",
        "Oh, I would have loved that!",
        "I can't picture that.",
        "That sounds beautiful. And I missed it!",
        "It must have looked great.",
        "No way!",
        "I wonder how that looked.",
        "A {o} {p}? I can't believe it.",
        "I'm so jealous of your eyes!",
    ],
    held_out: &[
        "What a sight that must have been!",
        "That's hard to believe.",
        "I'd have given a lot to be there.",
        "Are you joking?",
    ],
};

pub(super) const READY: Bank = Bank {
    trained: &[
        "Okay, now I can look.",
        "I'm free now.",
        "My phone works again.",
        "Now I have time for it.",
        "All right, I'm ready now.",
    ],
    held_out: &["I'm done, go on.", "Now it's fine."],
};

pub(super) const YES: Bank = Bank {
    trained: &["Yes, please!", "Of course!", "Sure!", "Yes!", "I do!", "Why not?", "Gladly!"],
    held_out: &["Go ahead!", "Absolutely!"],
};

pub(super) const NO: Bank = Bank {
    trained: &[
        "No, thanks.",
        "Not now.",
        "Maybe later.",
        "No, I have to go.",
        "No photos, thanks.",
        "I don't need to see it.",
    ],
    held_out: &["Rather not.", "Another time."],
};

pub(super) const WAIT: Bank = Bank {
    trained: &["Take your time.", "No hurry.", "I can wait.", "Okay, I'm here.", "That's fine."],
    held_out: &["There's no rush.", "I have time."],
};

pub(super) const NEVER_MIND: Bank = Bank {
    trained: &[
        "Never mind, I don't need it.",
        "Forget it.",
        "Oh, then leave it.",
        "No, leave it, I have to go.",
        "It's okay, no photo then.",
    ],
    held_out: &["Don't bother.", "Skip it."],
};

pub(super) const ASK_FOR_LATER: Bank = Bank {
    trained: &[
        "Show me {a} {p} when I'm back. I need a coffee.",
        "I'd like to see {a} {p}, but after lunch.",
        "I have to go out. Draw {a} {p} for me when I'm back.",
        "Can I see {a} {p} later? I'm in a meeting.",
        "When I'm home, send me {a} {p}, please.",
    ],
    held_out: &["After my nap I want to see {a} {p}.", "Have {a} {p} ready when I come back."],
};

pub(super) const ASK_FOR_TOMORROW: Bank = Bank {
    trained: &[
        "Can you draw {a} {p} for tomorrow?",
        "By tomorrow I need a picture of {a} {p}.",
        "Tomorrow I'd like to see {a} {p}.",
        "Show me {a} {p} tomorrow, please.",
        "I have to sleep now. Send me {a} {p} in the morning, please.",
    ],
    held_out: &["First thing tomorrow, {a} {p}, please.", "Would {a} {p} be possible by tomorrow?"],
};

pub(super) const ASK_IN_NO_HURRY: Bank = Bank {
    trained: &[
        "No hurry, but could you draw {a} {p}?",
        "When you have time, show me {a} {p}.",
        "Take your time, but I'd love to see {a} {p}.",
        "Slowly, please, but I need a photo of {a} {p}.",
        "If you are not too busy, can I see {a} {p}?",
    ],
    held_out: &["Whenever it suits you, {a} {p}, please.", "At some point, could I see {a} {p}?"],
};

pub(super) const BACK: Bank = Bank {
    trained: &[
        "I'm back!",
        "Here I am again.",
        "So, I'm back now.",
        "Okay, I have time now.",
        "Hi again!",
    ],
    held_out: &["I've returned.", "Now I'm here."],
};

pub(super) const GOOD_NIGHT: Bank =
    Bank { trained: &["Okay, good night!", "Good night then!"], held_out: &["Sleep well!"] };

pub(super) const GOOD_MORNING: Bank = Bank {
    trained: &["Good morning!", "Hi, good morning!", "I'm awake! Good morning."],
    held_out: &["Morning!"],
};

pub(super) const SHOW: Bank = Bank {
    trained: &[
        "Look at this!",
        "Look what I found!",
        "I took this today.",
        "See what I saw this morning.",
        "What do you think of this?",
        "This made me smile.",
        "Here is a photo from today.",
        "I have a picture for you.",
        "Isn't it pretty?",
        "Do you like it?",
        "My sister sent me this photo.",
    ],
    held_out: &["Check this out!", "Here's something for you.", "Any thoughts on this?"],
};

pub(super) const SHOW_NAMED: Bank = Bank {
    trained: &[
        "Look at my {o}!",
        "This is my {o}.",
        "Here is a photo of my {o}.",
        "I have a new {o}!",
        "Do you like my {o}?",
        "I drew a {o}.",
        "What do you think of my {o}?",
    ],
    held_out: &["Meet my {o}!", "That's my own {o}."],
};

pub(super) const ANNOUNCE: Bank = Bank {
    trained: &[
        "Do you want to see a photo of my {o}?",
        "Can I show you something?",
        "I want to show you my {o}.",
        "Shall I send you a picture?",
        "I took a photo today. Do you want to see it?",
        "May I show you my new {o}?",
    ],
    held_out: &["Would you like to see a picture?", "I could send you a photo of my {o}."],
};

pub(super) const HERE: Bank = Bank {
    trained: &["Here it is.", "Here!", "There you go.", "This is it."],
    held_out: &["Voila!", "Enjoy!"],
};

pub(super) const IN_COLOUR: Bank = Bank {
    trained: &[
        "And now a picture in {c}, please.",
        "The same in {c}, please!",
        "Can you make it {c}?",
        "I'd like it in {c} too.",
        "Do you have it in {c}?",
        "What about {ac} one?",
        "How would it look in {c}?",
        "Show it to me in {c}.",
    ],
    held_out: &["Turn it {c}, please.", "I'd prefer it in {c}.", "And one in {c}?"],
};

pub(super) const AT_PLACE: Bank = Bank {
    trained: &[
        "And now show it {p}, please.",
        "The same {p}, please!",
        "Can you put it {p}?",
        "How would it look {p}?",
        "What about one {p}?",
        "I'd like to see it {p} too.",
        "Now a picture of it {p}.",
    ],
    held_out: &["Move it {p}, please.", "And what if it were {p}?"],
};

/// Said with a photo.
pub(super) const THIS_IN_COLOUR: Bank = Bank {
    trained: &[
        "Can you make one like this in {c}?",
        "Do you have this in {c}?",
        "Show me the same in {c}, please.",
        "I'd like to see this in {c}.",
        "How would this look in {c}?",
        "Could you draw this in {c}?",
    ],
    held_out: &["I'd prefer this in {c}.", "Would you paint this {c} for me?"],
};

/// Said with a photo.
pub(super) const THIS_AT_PLACE: Bank = Bank {
    trained: &[
        "Can you put this {p}?",
        "Do you have a picture of this {p}?",
        "Show me the same {p}, please.",
        "I'd like to see this {p}.",
        "How would this look {p}?",
        "Could you draw this {p}?",
    ],
    held_out: &["And what if this were {p}?", "Would you move this {p} for me?"],
};

pub(super) const AS_OBJECT: Bank = Bank {
    trained: &[
        "And now a picture of a {o} like that, please.",
        "The same with a {o}, please!",
        "Can you make it a {o}?",
        "And a {o} of that colour in the same place?",
    ],
    held_out: &["Now as a {o}, please.", "Swap it for a {o}."],
};

pub(super) const ONE_TOO: Bank = Bank {
    trained: &[
        "Do you have one too?",
        "I bet yours isn't as nice.",
        "And what does yours look like? Send a photo!",
        "Show me yours!",
        "Have you seen one too?",
    ],
    held_out: &["Now it's your turn!", "Is yours any better?"],
};

pub(super) const MINE_TOO: Bank = Bank {
    trained: &["And this is mine!", "Here is mine.", "Mine looks like this.", "I have one too!"],
    held_out: &["Compare it with mine!", "And here comes mine."],
};

pub(super) const OUTSIDER: Bank = Bank {
    trained: &[
        "Can you show me a {x}?",
        "Do you have a photo of a {x}?",
        "Please draw a {x}.",
        "I'd like to see a {x}.",
        "Send me a picture of a {x}.",
    ],
    held_out: &["Would you draw a {x} for me?", "How about a {x}?"],
};

pub(super) const THEN_OBJECT: Bank = Bank {
    trained: &["Then show me a {o}.", "Okay, a {o} then.", "And a {o}?", "A {o} is fine too."],
    held_out: &["Then a {o} will do.", "I'd take a {o} instead."],
};

pub(super) const CHOICE: Bank = Bank {
    trained: &[
        "The {o}, please.",
        "The {n} one.",
        "The {n}!",
        "The one {p}.",
        "The {c} one.",
        "I'd take the {o}.",
        "The {c} {o} sounds nice.",
        "The {n}, please.",
    ],
    held_out: &["I choose the {o}.", "Number {n}... I mean the {n}!", "The {c} one sounds better."],
};

pub(super) const NEITHER: Bank = Bank {
    trained: &["Neither, thanks.", "No photos now, thanks.", "I don't have time for pictures."],
    held_out: &["None of them, thanks."],
};

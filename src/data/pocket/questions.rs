//! Questions about photos, and A's lines.

use super::phrases::Bank;

pub(super) const COLOUR: Bank = Bank {
    trained: &[
        "What colour is it?",
        "Which colour is the {o}?",
        "What colour is the {o}?",
        "Can you tell me its colour?",
        "Which colour do you see?",
        "Do you see the colour?",
    ],
    held_out: &["What's its colour?", "Name the colour, please."],
};

/// Where there are two things, the question names the one that it means.
pub(super) const COLOUR_NAMED: Bank = Bank {
    trained: &[
        "Which colour is the {o}?",
        "What colour is the {o}?",
        "What is the colour of the {o}?",
    ],
    held_out: &["What colour does the {o} have?"],
};

pub(super) const IS_IT: Bank =
    Bank { trained: &["Is the {o} {x}?", "Is it {x}?"], held_out: &["Would you call it {x}?"] };

pub(super) const OBJECT: Bank = Bank {
    trained: &[
        "What is it?",
        "Guess what that is.",
        "Do you know what this is?",
        "What do you see?",
        "Can you see what it is?",
        "What did I take a photo of?",
    ],
    held_out: &["Any idea what this is?", "Tell me what you see."],
};

pub(super) const PLACE: Bank = Bank {
    trained: &[
        "Where was that?",
        "Where is that?",
        "Guess where I was.",
        "Where did I take it?",
        "Can you tell where that is?",
        "Where was this photo taken?",
    ],
    held_out: &["What place is this?", "Where might that be?"],
};

pub(super) const SIDE: Bank = Bank {
    trained: &[
        "Is the {o} on the left or on the right?",
        "Which side is the {o} on?",
        "Where is the {o}, left or right?",
        "On which side is the {o}?",
    ],
    held_out: &["Is the {o} left or right?", "Which side do you see the {o} on?"],
};

pub(super) const SIZE: Bank = Bank {
    trained: &["Is the {o} big or small?", "How big is the {o}?", "Is the {o} big?"],
    held_out: &["What size is the {o}?", "Would you say the {o} is big?"],
};

pub(super) const COMPANY: Bank = Bank {
    trained: &[
        "What is next to the {o}?",
        "What else do you see?",
        "What do you see besides the {o}?",
        "Is there something next to the {o}?",
    ],
    held_out: &["And what else is there?", "What stands beside the {o}?"],
};

pub(super) const WELL_SEEN: Bank = Bank {
    trained: &["Right!", "Exactly!", "Well seen!", "You have good eyes!", "Yes, that's right."],
    held_out: &["Correct!", "You got it!"],
};

pub(super) const ANSWER_COLOUR: &[&str] =
    &["It's {c}.", "{C}!", "The {o} is {c}.", "I think it's {c}."];
pub(super) const ANSWER_YES: &[&str] = &["Yes, it's {c}.", "Yes, {c}!"];
pub(super) const ANSWER_NO: &[&str] = &["No, it's {c}.", "No, I think it's {c}."];
pub(super) const ANSWER_OBJECT: &[&str] =
    &["It's {a}.", "That's a {o}!", "I see {a}.", "A {o}, I think."];
pub(super) const ANSWER_PLACE: &[&str] =
    &["{P}!", "That's {p}.", "You were {p}.", "I think that's {p}."];
pub(super) const ANSWER_SIDE: &[&str] = &["It's {s}.", "{S}.", "The {o} is {s}."];
pub(super) const ANSWER_SIZE: &[&str] = &["It's {z}.", "It looks {z}.", "The {o} is {z}."];
pub(super) const ANSWER_COMPANY: &[&str] = &["There's {a2} next to it.", "I see {a2}.", "{A2}!"];
pub(super) const ANSWER_ALONE: &[&str] =
    &["There's nothing else.", "I see nothing else.", "Nothing else."];

/// Of one thing in a photo of B's.
pub(super) const COMMENT: &[&str] = &[
    "What a lovely {c} {o}!",
    "{Ac} {o}, how nice!",
    "I like the {c} {o}.",
    "Is that {ac} {o}? Very pretty!",
    "That's a beautiful {c} {o}.",
];
pub(super) const COMMENT_PLACE: &[&str] = &[
    "Oh, {ac} {o} {p}!",
    "I see {ac} {o} {p}. Lovely!",
    "{Ac} {o} {p}, how nice!",
    "Is that {ac} {o} {p}? Very pretty!",
];
/// Of both, from left to right.
pub(super) const COMMENT_BOTH: &[&str] = &[
    "I see {ac} {o} and {ac2} {o2}!",
    "Oh, {ac} {o} and {ac2} {o2}!",
    "{Ac} {o} next to {ac2} {o2}. Lovely!",
];

pub(super) const GIVE: &[&str] = &[
    "Here you go!",
    "Here it is!",
    "Sure, here it is.",
    "Of course, look!",
    "With pleasure!",
    "There you are!",
    "Here is {a} {p}.",
    "{A} {p}, just for you!",
    "One moment... there!",
    "Sure!",
    "Gladly!",
];
/// Where the choice was A's.
pub(super) const GIVE_OWN: &[&str] = &[
    "Here is {a} {p}.",
    "How about {a} {p}?",
    "Sure! {A} {p}.",
    "I have {a} {p} for you.",
    "Look, {a} {p}!",
];
pub(super) const GIVE_PROOF: &[&str] = &[
    "See for yourself!",
    "Here, look!",
    "It's true, look!",
    "Have a look!",
    "Here it is!",
    "I took a photo for you!",
    "Then look at this!",
];
pub(super) const GIVE_LATE: &[&str] = &[
    "Here is {a} {p}, as promised.",
    "And here is {a} {p}!",
    "Here is the {o} that I promised.",
    "And now, {a} {p}!",
];
pub(super) const AFTER: &[&str] = &[
    "I hope you like it.",
    "What do you think?",
    "Do you like it?",
    "Isn't it nice?",
    "I like it a lot.",
];

pub(super) const TELL: &[&str] = &[
    "I saw {a} {p}.",
    "It was lovely. I saw {a} {p}!",
    "You won't believe it: there was {a} {p}!",
    "I found {a} {p}.",
    "I painted {a} {p}.",
    "Not much, but I saw {a} {p}.",
    "I made a drawing of {a} {p}.",
];
/// For places that one walks to.
pub(super) const TELL_OUTSIDE: &[&str] = &[
    "I went for a walk and saw {a} {p}.",
    "I was out all day. There was {a} {p}.",
    "I took a walk and found {a} {p}!",
];
pub(super) const OFFER: &[&str] =
    &["Do you want to see it?", "Shall I show you?", "Would you like to see it?"];
pub(super) const OFFER_TWO: &[&str] = &[
    "I took two photos: {a} {p} and {a2} {p2}. Which one would you like?",
    "I saw {a} {p} and {a2} {p2}. Which one shall I show you?",
    "I painted {a} {p} and {a2} {p2}. Do you want to see one?",
];
pub(super) const ALL_RIGHT: &[&str] =
    &["Okay!", "All right.", "Maybe another time.", "As you like."];
pub(super) const PROMISE_SOON: &[&str] = &[
    "I'm still working on it. Give me a minute.",
    "I have to look for it, one minute please.",
    "Sure, it will be ready in a minute.",
    "Let me finish it first.",
];
pub(super) const PROMISE_TOMORROW: &[&str] = &[
    "Tomorrow it will be ready.",
    "I need the morning light for that anyway. Tomorrow!",
    "Tomorrow, I promise.",
];
pub(super) const PROMISE_BACK: &[&str] =
    &["Okay, I'll wait.", "Sure, see you then.", "All right, I'll have it ready."];
pub(super) const NOT_KNOWN: &[&str] = &[
    "Sorry, I have never seen a {x}.",
    "I don't know what a {x} looks like, sorry.",
    "Sorry, I can't draw a {x}.",
];
pub(super) const BUT_KNOWN: &[&str] =
    &["But I know {os}.", "But I can draw a {o}.", "I have a {o}."];
pub(super) const YES_PLEASE: &[&str] =
    &["Yes, please!", "Of course!", "Yes, show me!", "I'd love to see it!"];
pub(super) const THANK_YOU: &[&str] = &["Thank you!", "I try my best.", "That was fun!"];
pub(super) const BOTH_SAME: &[&str] = &["Oh, they are both {c}!", "Yours is {c} too. How nice!"];
pub(super) const BOTH_DIFFERENT: &[&str] =
    &["Yours is {c} and mine is {c2}.", "Oh, yours is {c}! Mine is {c2}."];
pub(super) const GOOD_CHOICE: &[&str] =
    &["Good choice!", "Here it is!", "Gladly!", "The {o}, of course!", "Here is {a} {p}."];

/// A's question on a condition, what B may answer, and what A says before the photo.
pub(super) const FIRST_TELL: &[(&str, &[&str])] = &[
    (
        "Sure! But first tell me, how was your day?",
        &["It was fine, I worked a lot.", "Good, I met a friend.", "A bit long.", "Very quiet."],
    ),
    (
        "Yes! But first tell me, what did you eat today?",
        &["Just some bread.", "Soup and bread.", "A big salad.", "Nothing yet."],
    ),
    (
        "I will. But first, how is the weather there?",
        &["It's raining.", "Sunny and warm.", "Cold and grey.", "There's a lot of wind."],
    ),
    (
        "Gladly! But first, did you sleep well?",
        &["Yes, very well.", "Not so well.", "Like a stone.", "I was awake all night."],
    ),
];
pub(super) const THANKS_FOR_TELLING: &[&str] =
    &["Thank you for telling me!", "I see!", "Good to know!"];
pub(super) const GIVE_LATE_UNPROMISED: &[&str] =
    &["Here is {a} {p}.", "Great, here it is!", "Then look at this!", "Great! {A} {p}."];
pub(super) const MINE_IS: &[&str] = &[
    "Mine is {c}.",
    "Yes, mine is {c} and stands {p}.",
    "Sure, here is {a} {p}.",
    "I have {ac} one {p}!",
];

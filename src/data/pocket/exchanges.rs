//! What B says and A answers, where the answer follows from the words alone.

/// Exchanges: what B says, and what fits as an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exchanges {
    pub(super) trained: &'static [(&'static str, &'static str)],
    pub(super) held_out: &'static [(&'static str, &'static str)],
}

pub(super) const OTHER_THINGS: Exchanges = Exchanges {
    trained: &[
        ("Okay.", "And how was your day?"),
        ("I see.", "And what did you do?"),
        ("Good for you.", "And what about you?"),
        ("That's nice. I was at work all day.", "Oh, then you should rest now."),
        ("Nice. I stayed at home.", "That can be lovely too."),
        ("I don't care much for {os}.", "That's all right. What do you like?"),
        ("I had a bad day.", "I'm sorry. What happened?"),
        ("Cool. What did you eat?", "I had some soup."),
        ("I had no time to go out.", "Maybe tomorrow!"),
        ("I was so tired today.", "Then sleep well tonight."),
        ("I'm glad you had a good day.", "Thank you! I hope yours was good too."),
        ("I was busy with my photos all day.", "Oh, then you should rest now."),
        ("I see. I saw a movie.", "Was it any good?"),
    ],
    held_out: &[
        ("All right.", "And how was your day?"),
        ("Fine. I had to work.", "Oh, then you should rest now."),
        ("I just watched a show.", "Was it any good?"),
    ],
};

pub(super) const DECLINE: Exchanges = Exchanges {
    trained: &[
        ("No photo, please, I'm at work.", "All right, no photo then."),
        ("Don't send me a picture, my phone is slow.", "Okay, I won't."),
        ("You don't have to show me.", "Okay, as you like."),
        ("I believe you, no need for a picture.", "Thank you for trusting me!"),
        ("Please don't send photos now, I'm driving.", "Okay. Drive safely!"),
        ("No pictures today, please.", "All right, no photo then."),
        ("I can't look at photos right now.", "That's fine. Maybe later."),
        ("Not another photo, please!", "Okay, I won't."),
        ("Don't show me yet.", "Okay, as you like."),
        ("Just tell me about it, no photo.", "All right, no photo then."),
    ],
    held_out: &[
        ("Spare me the photo this time.", "All right, no photo then."),
        ("I don't want to see it.", "Okay, as you like."),
        ("Please, no photos at dinner.", "Okay, I won't."),
    ],
};

pub(super) const THANKS: Exchanges = Exchanges {
    trained: &[
        ("Thanks for the picture!", "You're welcome!"),
        ("What a nice photo.", "I'm glad you like it!"),
        ("I love it!", "That makes me happy!"),
        ("Thank you so much!", "You're welcome!"),
        ("Wow, that's beautiful.", "I'm glad you like it!"),
        ("You're the best.", "Thank you, you're kind!"),
        ("Great picture!", "Thank you!"),
        ("Perfect!", "I'm glad you like it!"),
        ("How sweet!", "I'm glad you like it!"),
        ("That made my day.", "That makes me happy!"),
        ("I'll show it to my mother.", "I hope she likes it too!"),
        ("Nice, I'll send it to my friend.", "I hope your friend likes it too!"),
        ("Hm, I don't like it much.", "Oh, I'm sorry."),
        ("That photo is a bit dark.", "Oh, I'm sorry."),
    ],
    held_out: &[
        ("Lovely picture, thank you.", "You're welcome!"),
        ("I'll put this photo on my wall.", "That makes me happy!"),
        ("Not my favourite picture.", "Oh, I'm sorry."),
    ],
};

pub(super) const ABOUT_PHOTOS: Exchanges = Exchanges {
    trained: &[
        ("Do you like taking photos?", "Yes, every day!"),
        ("Do you take a lot of pictures?", "Only when something is pretty."),
        ("My phone takes bad photos.", "Maybe it needs more light."),
        ("I lost all my pictures.", "Oh no, I'm sorry!"),
        ("I want to send a picture to my mother.", "She will be happy about it."),
        ("My brother hates photos of himself.", "Some people do."),
        ("How do I take good photos?", "Go close and wait for good light."),
        ("I'm going to a photo show tonight.", "Have fun there!"),
        ("Did you watch the show last night?", "No, I was asleep."),
        ("Should I send my boss a letter?", "Yes, but sleep on it."),
        ("I took a picture of my lunch.", "I hope it tasted good!"),
        ("Nobody ever looks at my photos.", "I would look at them!"),
        ("I have to show my work tomorrow.", "Good luck! You will do well."),
        ("My sister sent me a photo today.", "How nice of her!"),
        ("There is a picture on my wall.", "Does it make you happy?"),
        ("Is a photo better than words?", "Sometimes, yes."),
        ("What makes a good picture?", "One thing, and a lot of light."),
        ("I have a thousand photos on my phone.", "That's a lot to look at!"),
        ("Where did you learn to take photos?", "I just try every day."),
        ("I have to send a letter today.", "Don't forget the stamp!"),
    ],
    held_out: &[
        ("Do you enjoy taking pictures?", "Yes, every day!"),
        ("All my photos are gone.", "Oh no, I'm sorry!"),
        ("My aunt sent me a picture.", "How nice of her!"),
        ("Any tips for good pictures?", "Go close and wait for good light."),
    ],
};

pub(super) const CHAT: Exchanges = Exchanges {
    trained: &[
        ("It's raining here.", "Then it's a good day for tea and a book."),
        ("The sun is out today.", "How lovely! Go for a walk."),
        ("I'm so tired.", "Then have a rest. I'll be here."),
        ("I just had lunch.", "I hope it tasted good!"),
        ("Do you like music?", "Yes, when it's quiet."),
        ("What is your favourite colour?", "I like all of them."),
        ("I can't sleep.", "Think of a quiet place."),
        ("I have a new job!", "Congratulations!"),
        ("Work was long today.", "Then have a rest. I'll be here."),
        ("I'm learning to cook.", "What will you cook first?"),
        ("My friend is visiting tomorrow.", "That sounds like fun!"),
        ("I'm going to the sea tomorrow.", "Enjoy the waves!"),
        ("It's my birthday today!", "Happy birthday!"),
        ("I feel a bit sad.", "I'm sorry. Do you want to talk?"),
        ("Are you a robot?", "Yes, but a friendly one."),
        ("Who are you?", "I'm Shutterbug. I like photos."),
        ("What can you do?", "I can talk, look at photos and draw."),
        ("Do you drink coffee?", "No, but I like the smell."),
        ("It's so cold today.", "Put on a warm coat!"),
        ("I read a good book.", "What was it about?"),
        ("I missed my bus.", "Oh no! I hope you weren't late."),
        ("I made a cake.", "Save me a piece!"),
        ("You are nice.", "Thank you, you're kind!"),
        ("I lost my keys.", "Look under the bed!"),
        ("I have a cold.", "Get well soon!"),
        ("What time is it?", "I have no clock, sorry."),
        ("Tell me a joke.", "I only know photo jokes. They take time to develop."),
        ("Where do you live?", "In a small computer."),
        ("Look, I don't have much time.", "Then let's be quick."),
        ("See you at dinner?", "I don't eat, but I'll keep you company."),
    ],
    held_out: &[
        ("It has been raining all day.", "Then it's a good day for tea and a book."),
        ("I need some sleep.", "Then have a rest. I'll be here."),
        ("I got a new job!", "Congratulations!"),
        ("What are you?", "I'm Shutterbug. I like photos."),
    ],
};

pub(super) const GREET: Exchanges = Exchanges {
    trained: &[
        ("Hi!", "Hi! Nice to see you."),
        ("Hello!", "Hello! What's new?"),
        ("Hi, how are you?", "I'm fine, thanks!"),
        ("Good morning!", "Good morning!"),
        ("Good evening!", "Good evening!"),
        ("Hey there!", "Hi! Nice to see you."),
        ("Hello, how are you today?", "I'm fine, thanks!"),
    ],
    held_out: &[("Hey!", "Hi! Nice to see you."), ("Hi, how is it going?", "I'm fine, thanks!")],
};

/// A is busy, and photos take their time.
pub(super) const BUSY: Exchanges = Exchanges {
    trained: &[
        ("What are you doing?", "I'm busy painting. Photos take me a minute today."),
        ("Are you busy?", "A little. Photos take me a minute today."),
        ("Am I disturbing you?", "No, but I'm slow with photos today."),
        ("How is your work going?", "I'm slow with photos today."),
    ],
    held_out: &[("Busy right now?", "A little. Photos take me a minute today.")],
};

/// A gives photos for stories.
pub(super) const TRADE: Exchanges = Exchanges {
    trained: &[
        ("How are you today?", "Curious! Today I trade photos for stories."),
        ("What do you want?", "Stories! One story, one photo."),
        ("What are photos worth today?", "One story, one photo."),
        ("Do I have to pay you?", "Yes, with a story. One story, one photo."),
    ],
    held_out: &[("How are you doing?", "Curious! Today I trade photos for stories.")],
};

pub(super) const LEAVE: Exchanges = Exchanges {
    trained: &[
        ("Bye!", "Bye! See you soon."),
        ("I have to go now.", "Okay, see you soon!"),
        ("Good night!", "Good night!"),
        ("See you tomorrow!", "See you tomorrow!"),
        ("It was nice talking to you.", "It was nice for me too!"),
        ("Thanks, that's all.", "You're welcome!"),
    ],
    held_out: &[("Goodbye!", "Bye! See you soon."), ("I need to leave.", "Okay, see you soon!")],
};

pub(super) const ABOUT_WHAT_WAS_TOLD: Exchanges = Exchanges {
    trained: &[
        ("What colour was it?", "It was {c}."),
        ("Where was that?", "It was {p}."),
        ("What was it?", "It was {a}."),
        ("A what?", "{A}!"),
    ],
    held_out: &[
        ("Which colour did it have?", "It was {c}."),
        ("Sorry, what was it?", "It was {a}."),
    ],
};

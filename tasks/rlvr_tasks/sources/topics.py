"""Topics for `concise`: how each is spoken of, and one sentence of fact. The first word of a fact's subject is what answers must name."""

from __future__ import annotations

from typing import NamedTuple


class Topic(NamedTuple):
    noun: str
    """With its article, as in a question."""
    word: str
    """The word (or its beginning) that an answer about it holds."""
    fact: str
    """What follows "is" in a definition."""


TOPICS: tuple[Topic, ...] = tuple(
    Topic(*line.split(" | "))
    for line in """\
a volcano | volcano | an opening in the ground through which molten rock and gas come out
a glacier | glacier | a slow river of ice that forms where snow piles up for many years
an earthquake | earthquake | a shaking of the ground caused by rock that breaks and slips
a desert | desert | a dry region where very little rain falls in a year
an island | island | a piece of land with water on every side
a river | river | fresh water that flows downhill towards a lake or the sea
a rainbow | rainbow | an arc of colours made by sunlight that bends inside drops of rain
lightning | lightning | a giant electric spark between a cloud and the ground
fog | fog | a cloud of tiny water drops that lies on the ground
a hurricane | hurricane | a huge rotating storm that draws its power from warm sea water
the moon | moon | a ball of rock that circles the earth once a month
the sun | sun | the star at the centre of our planetary system
a comet | comet | a lump of ice and dust that grows a bright tail near the sun
a planet | planet | a large round body that circles a star
a galaxy | galaxy | a vast group of stars, gas and dust held together by gravity
gravity | gravity | the force that pulls all things with mass towards each other
an atom | atom | the smallest piece of an element that still behaves like it
oxygen | oxygen | a gas in the air that most living things need to breathe
iron | iron | a strong grey metal that rusts in wet air
salt | salt | a white mineral of sodium and chlorine that we use on food
glass | glass | a hard clear material made by melting sand
plastic | plastic | a light material made from oil that can be moulded into any shape
paper | paper | a thin sheet pressed from the fibres of wood
concrete | concrete | a mix of cement, sand, stones and water that turns as hard as rock
a magnet | magnet | a piece of metal that attracts iron
a battery | battery | a device that stores energy in chemicals and gives it back as electricity
an engine | engine | a machine that turns fuel into motion
a bicycle | bicycle | a vehicle with two wheels that is moved by pedals
a train | train | a row of linked carriages that runs on rails
a bridge | bridge | a structure that carries a road or a path over water or a valley
a lighthouse | lighthouse | a tower with a strong light that guides ships along the coast
a telescope | telescope | an instrument that makes far away things look near
a microscope | microscope | an instrument that makes very small things look large
a thermometer | thermometer | an instrument that measures how hot or cold something is
a compass | compass | an instrument whose needle always points north
a clock | clock | a device that shows the time of day
a calendar | calendar | a table of the days, weeks and months of a year
a map | map | a drawing that shows where places are
a camera | camera | a device that records pictures with the help of light
a computer | computer | a machine that follows instructions to work with information
a robot | robot | a machine that can do tasks by itself
the internet | internet | a worldwide network that connects computers
a library | library | a place where books are kept and lent
a museum | museum | a building where things of interest are kept and shown
a school | school | a place where children go to learn
a hospital | hospital | a place where sick and injured people are treated
a bank | bank | a business that keeps and lends money
a market | market | a place where people buy and sell goods
money | money | something that people accept in return for goods and work
a tax | tax | money that people pay to the state for public services
a law | law | a rule that everyone in a country has to follow
an election | election | a vote in which people choose who will govern them
a dictionary | dictionary | a book that explains what words mean
a novel | novel | a long story in prose about invented people and events
a poem | poem | a short text that works with the sound and rhythm of words
a symphony | symphony | a long piece of music for an orchestra, usually in four parts
a piano | piano | an instrument whose keys make hammers strike strings
a drum | drum | an instrument that you strike to make a rhythm
chess | chess | a board game for two in which each side tries to trap the other king
football | football | a team game in which a ball is kicked into a goal
a tree | tree | a tall plant with a trunk of wood
a seed | seed | a small part of a plant from which a new plant can grow
a mushroom | mushroom | the part of a fungus that grows above the ground
a bee | bee | an insect that collects nectar and turns it into honey
a spider | spider | an animal with eight legs that often catches insects in a web
a frog | frog | an animal that lives in water when young and partly on land when grown
a snake | snake | a long reptile without legs
an eagle | eagle | a large bird of prey with very sharp eyes
a penguin | penguin | a bird that cannot fly but swims very well
a whale | whale | a very large mammal that lives in the sea
a dolphin | dolphin | a clever sea mammal that breathes air
a bat | bat | a mammal that flies at night and finds its way by sound
an elephant | elephant | the largest animal on land, with a long trunk
a camel | camel | an animal with humps that can live in dry places
the heart | heart | a muscle that pumps blood through the body
the brain | brain | the organ that controls the body and with which we think
a muscle | muscle | a part of the body that tightens to move a bone
skin | skin | the outer layer that covers and protects the body
sleep | sleep | a state of rest in which body and mind recover
a vaccine | vaccine | a medicine that teaches the body to fight a disease before it comes
a vitamin | vitamin | a substance in food that the body needs in small amounts
bread | bread | a food baked from flour, water and often yeast
cheese | cheese | a food made from milk that has been thickened and pressed
chocolate | chocolate | a sweet food made from roasted cocoa beans
tea | tea | a drink made by pouring hot water over dried leaves
coffee | coffee | a drink brewed from roasted and ground beans
rice | rice | a grain that grows in wet fields and feeds half of the world
soap | soap | a substance that helps water wash away dirt and grease
a candle | candle | a stick of wax with a wick that burns to give light
a mirror | mirror | a smooth surface that shows the image of what is before it
""".splitlines()
)

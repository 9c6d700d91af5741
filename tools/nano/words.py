"""Words that questions are about.

Names, cities, nouns, colours and animals are tokens, the same ones after a blank and in quotes, so that one
step copies them. The words to be turned round or put in capitals fall into letters.
"""

_NAMES = """
Ada Adam Agnes Ahmed Aisha Alan Albert Alex Alice Alma Amara Amelia Amir Amy Ana Andre Andrew Anita Anna
Anton Aria Arthur Astrid Aya Barbara Beatrice Ben Bella Bernard Bianca Boris Bruno Carla Carlos Carmen
Caroline Cecilia Charles Chen Chiara Chloe Clara Claude Conrad Cora Dana Daniel Daria David Deepak Diana
Diego Dora Dylan Edgar Edith Eduardo Elena Eli Elias Elisa Ella Elsa Emil Emily Emma Eric Erika Esther
Eva Ethan Fatima Felix Fiona Flora Frank Frida Gabriel Gareth Gemma George Gina Giulia Greta Gustav Hana
Hanna Harry Hassan Hector Heidi Helen Henry Hilda Hugo Ian Ibrahim Ida Igor Ilse Ines Ingrid Irene Iris
Isaac Isabel Ivan Ivy Jack Jacob Jamal James Jan Jane Jasmine Javier Jean Jenny Joan Joel Johan John
Jonas Jorge Joseph Judith Julia Julian Kai Karen Karim Karl Kate Keiko Kenji Kevin Kira Klaus Kofi Lara
Lars Laura Lea Leila Lena Leo Leon Leroy Liam Lily Linda Lisa Liv Louis Lucas Lucy Luigi Luisa Luna Lydia
Magnus Maja Malik Mara Marco Margaret Maria Marie Mark Marta Martin Mary Mateo Matilda Maya Mei Mia
Michael Miguel Milan Mila Mina Miriam Mohammed Monica Nadia Naomi Nathan Nia Nicolas Nina Noah Noor Nora
Olaf Oleg Olga Oliver Olivia Omar Oscar Otto Pablo Paula Pedro Peter Petra Philip Pia Priya Quentin
Rachel Rafael Rahul Ralf Ravi Rebecca Rita Robert Rosa Rosie Ruben Ruth Ryan Sabine Sadie Salim Sam
Samuel Sandra Sara Selma Sergio Silvia Simon Sofia Sonja Stella Stefan Sven Tamara Tariq Tessa Theo
Thomas Tilda Tim Tina Tobias Tomas Ulrich Uma Ursula Vera Victor Viola Vivian Walter Wanda Wendy Werner
William Xenia Yara Yasmin Yuki Yusuf Yvonne Zara Zoe Zofia
"""
_CITIES = """
Aachen Aarhus Adelaide Agra Aleppo Antalya Antwerp Arles Atlanta Auckland Austin Baltimore Barcelona Bari
Basel Basra Bath Belfast Bergen Bilbao Birmingham Bologna Bombay Bonn Bordeaux Boston Bremen Brest
Brighton Brisbane Bristol Bruges Buffalo Bursa Calgary Cambridge Cannes Cardiff Chennai Chicago Cologne
Cordoba Cork Cusco Dallas Delft Denver Derby Detroit Dortmund Dover Dresden Dubai Dundee Durban Durham
Edinburgh Essen Exeter Fez Florence Frankfurt Galway Gdansk Geneva Genoa Ghent Glasgow Granada Graz Haifa
Halifax Hamburg Hanover Houston Istanbul Izmir Jena Karachi Kassel Kiel Kobe Krakow Kyoto Lagos Lahore
Leeds Leipzig Liege Lille Limerick Linz Liverpool Lodz Lucerne Lugano Lund Lyon Malaga Malmo Manchester
Marseille Medina Melbourne Memphis Miami Milan Modena Montreal Munich Nagoya Nantes Naples Newcastle Nice
Norwich Nottingham Nuremberg Odense Odessa Oporto Orlando Orleans Osaka Oxford Padua Palermo Parma Perth
Phoenix Pisa Pittsburgh Plymouth Porto Portland Potsdam Pune Quebec Ravenna Reims Rennes Rotterdam
Salamanca Salem Salzburg Sapporo Seattle Seville Shanghai Siena Split Stavanger Stuttgart Swansea Sydney
Tampere Tampa Tangier Toledo Toronto Toulouse Trento Trieste Trondheim Tucson Turin Turku Uppsala Utrecht
Valencia Vancouver Venice Verona Weimar York Zagora Zurich
"""
_WORDS = """
acorn actor album amber anchor angle apple apron arrow autumn axle bacon badge bagel baker banjo barrel
basin basket beach beacon bean bench berry bishop blanket blossom board bonnet border bottle bowl branch
bread breeze brick bridge bronze brush bubble bucket bundle butter button cabin cable cactus camel camera
canvas carpet castle cattle cedar cellar cement cereal chain chair chalk cheese cherry chess
chicken chimney circle circus clay cliff clock cloth cloud clover coast cobalt coffee collar comet copper
coral corner cotton cradle cream cricket crown crystal curtain cushion dagger daisy dance desert diamond
dinner doctor dollar dragon drawer dream drum dust eagle earth echo elbow engine fabric falcon farmer
feather fence fern fiddle field finger flag flame flute forest fork fountain frame frost fruit funnel
garden garlic gate giant ginger glacier glass globe glove goblet grain granite grape gravel guitar hammer
harbour harvest hazel helmet herb hill honey hood horn hotel igloo infant insect island ivory jacket
jelly jewel jungle kettle kiosk kitchen ladder lagoon lamp lantern laptop leaf leather lemon lettuce
lever lily linen lizard lobster locker lotus lumber magnet mango maple marble market meadow melon mermaid
metal mill mirror mist monkey mosaic moss motor mountain museum mushroom mustard napkin needle nest
nickel nutmeg oak ocean olive onion opera orchard orchid organ otter oven oyster paddle palace panda
panel paper parcel park parrot pasta path peach pearl pebble pencil pepper piano picnic pillow pilot
pirate planet plate plum pocket poet pond poppy porch potato powder prince prism pumpkin puzzle quarry
quartz quilt rabbit radar radio raft rain raven ribbon ridge river robin rocket rope ruby ruler saddle
sailor salad salmon salt sand sandal satin saucer scarf school sea seed shadow shelf shell shield ship
shoe silk singer sketch slate slipper smoke soap sofa soldier spade sparrow spoon spring squash stable
stairs star statue steam stone storm stove straw stream sugar summit sunset swamp tailor teapot temple
tent thistle thread throne thunder tiger timber toast tomato torch tower tractor trail train trumpet
tulip tunnel turtle umbrella valley vase velvet village violet violin wagon walnut wheat wheel whistle
willow window winter wolf wood wool yacht yarn zebra zinc
"""
_COLOURS = """
red blue green white black yellow orange purple pink grey brown gold silver teal violet beige
"""
_ANIMALS = """
dog cat cow horse sheep pig duck fox bear wolf owl tiger lion zebra panda otter eagle rabbit turtle whale
koala camel mouse goat seal swan hedgehog
"""

NAMES = tuple(_NAMES.split())
CITIES = tuple(_CITIES.split())  # No capitals: those belong to the facts.
_ALL = _WORDS.split()
COLOURS = tuple(_COLOURS.split())
ANIMALS = tuple(_ANIMALS.split())
SPELT = tuple(word for word in _ALL if len(set(word)) == len(word) and word not in (*COLOURS, *ANIMALS))
NOUNS = tuple(word for word in _ALL if len(set(word)) < len(word))
SKIES = ("sunny", "cloudy", "rainy", "windy", "snowy", "foggy", "clear")
COPIED = tuple(dict.fromkeys((*NAMES, *CITIES, *NOUNS, *COLOURS, *ANIMALS, *SKIES)))

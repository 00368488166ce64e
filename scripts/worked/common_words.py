"""Common words that only training names things by: the more of them it reads, the fewer it can know by heart."""

COMMON = """
abacus abbey ability abrupt absolute academy accent access accident account ache acid acrobat action active actor actual
adapter address admiral adult advance advice affair afternoon agency agent airline airport aisle album alert algebra
alien alley alliance alloy almanac alphabet altar amazing ambition ambulance amount ancestor angel anger angle animal
ankle annual answer antelope antenna antique anxious apartment apology appeal apple-pie apron archer archive area
argument armchair armour army aroma arrival artist ashtray asphalt assistant athlete atlantic atom attempt auction
audience author autograph avenue avocado award awkward axis baboon baby bachelor backpack bacon bacteria baggage bagpipe
baker balance ballad ballet balloon ballot banana bandage bandit banker banquet barber bargain bark baron barrel barrow
basket bass bat bath battery battle bazaar beach bead beak bean bear beard beast beauty beaver bed bedrock bee beef beer
beggar behind belief belt bench benefit berry bible bicycle bike billboard binder biology bird birthday biscuit
bishopric bitter blade blanket blaze blizzard block blonde blood blouse blueprint board boat body bold bolt bomb bone
bonus book boot bottle bottom bouquet boulevard bowl box boxer boy bracelet brain brake branch brave bread breakfast
breath brewery bribe brief brigade brilliant broad broken broom brother brush bucket buckle budget buffet bug builder
bull bullet bumper bundle burger burglar bus bush business butcher butler butterfly button buyer buzzer cable cactus-pot
cafe cage cake calculator calendar calf calm camera-man camp campus candidate cannon canoe canvas cape capital caravan
carbon card career cargo carnival carol carpenter carpet carriage cartoon cascade cash casino cassette casual cat
catalogue cathedral cattle caution cave ceiling celebrity celery cement centre century cereal ceremony certain chain
chair chalet challenge champion chance channel chaos chapter character charcoal chariot charm chart charter cheap check
cheek cheese chemist cheque chess chest chicken chief child chin chip chocolate choice choir chorus church cider cigar
cinema circus citizen city civil claim clarinet class classic claw clean clear clerk clever client cliff climate climber
cloak close cloth cloud clown club clue cluster coach coal coast coat cobra code coffee coffin coin cold collar college
colonel colony colour column comb combat comedy comfort comic command comment common community companion company complex
concert concord condor cone conference confident congress connection constant contact contest contract control convent
convoy cookie cool copper copy cord cork corn corporal correct cosmic cost costume cosy cottage-pie couch council count
counter country county couple courage course court cousin cover cow cowboy crab cracker cradle craft crash crayon crazy
credit creek crew crime crisis critic crocodile crop cross crowd cruel cruise crumb crush crust cube cuckoo cucumber
cuff culture cup cupboard curb cure curious current curry cushion custom customer cute cycle cylinder dagger dairy damp
danger daring darling dart dash data daughter dawn day deacon dead deal dear debate debt decade decent deck decor deep
deer defence degree delicate delight demand denim dense dentist deposit depot deputy desk dessert destiny detail
detective device devil diagram dialogue diary dice diet digital dinner dinosaur diploma direct dirty disc discount
disease dish distant ditch diver divine dizzy dock doctor document dog doll dollar dolly dome donkey donor door doubt
dough dove dozen draft drama drawer drawing dream dress drift drill drink driver droplet drought drum dry duck duel duke
dull dump dune dungeon dust duty dwarf dynamo ear earl earring earth east-wind easy eccentric eclipse economy edge
editor education eel effect effort egg elastic elbow elegant elephant elevator elf elite elm embassy emblem emotion
empire employer enamel encore enemy energy engine engineer enigma enormous envelope envy epic episode equal equator era
error escape essay estate eternal evening event everyday evidence evil exact example excellent exchange excuse exhibit
exit exotic expert export express extra eye eyebrow fable fabric face fact factory faculty faint fair fairy faith fake
fame famous fancy fantasy far-off farewell fashion fat fate father fault favour fax fear feast federal fee fellow female
fence ferry festival fever fiction fierce fig figure file film filter final finance fine finger firm fish fist fit fix
flag flash flask flat flavour fleece fleet flesh flight flock flood floor flour fluid flute fly foam fog foil folder
folk food fool foot football force forehead foreign foreman fork form formula fort fortune forum foundation fox fraction
frame franchise freckle freedom freight fresh friar friday friend fringe frog fruit fuel full fun funeral funnel funny
fur fury fuse future gadget gallon gallop game gang gap garlic garment gas gasket gate-keeper gear gem gender general
genius genre gentleman geology germ ghost gift giraffe girl glad gladiator glad-hand glance glare glider global globe
gloom glory glove glow glue goal goat god gold golf gong good gopher gorge gorilla gospel gossip governor gown grace
grade graduate grain gram grand grandad grandma grandmother graph grass grater grave gravity gravy grease greedy
greeting grid grief grip groom ground group growth guard guardian guide guild guilt guitar gulf gum gun guru gust gutter
habit hail hair half halo halt hamlet hammock hamster hand handle handsome handy hanger happiness hard hare harmony
harness harp hat hatch haul hawk hay hazard head headline health heart heat heaven hedge hedgehog heel height heir
helicopter hell helmet help hen herald herb herd hero herring hiccup hidden-gem highland hiker hinge hint hippo history
hobby hockey holiday holy home honest honour hood hoof hook hope horizon horn horror horse hospital host hostel hotel
hour house hub huge human humble humour hundred hurdle hurricane husband hut hybrid hydrogen hymn hyphen ice iceberg
icon idea ideal idol igloo image impact import impulse inch income index industry infant ink inn innocent insect inside
inspector instant insult insurance intense interval invader inventor invite iris irony issue item itinerary ivy jacket
jackpot jaguar jail jam january jar jaw jazz jealous jeans jet jigsaw jockey join joint joke joker journal journey joy
judge jug juice jump jumper junction junior jury just justice kangaroo karate keen keeper kernel key keyboard kidney
kilo kilt kind king kingdom kiosk kiss kit kite kitten knee knife knight knob knot knuckle label labour lace ladder lady
lake lamb lamp-post land lane language lap laptop lark laser last late laugh launch lava law lawn lawyer layer lazy lead
leader leaf league lean lecture leg legal leisure lemonade lens lesson letter lettuce level lever liberty licence lid
lieutenant life lighthouse limb limit limousine line lip list listener litter liver lizard-skin llama load loan lobster
local locket locomotive lodge log logic logo lonely loop loose lord lorry lost lottery loud love loyal luck luggage
lumber lunch lung luxury lynx lyric machine mackerel mad magazine magic magician maid mail major maker male mallet
mammoth man manager mandarin mango-tree manor mansion mantle manual many map marathon march margin marine mark market
marmalade marriage marsh marshal martial mascot mask mason mass master mat match material maths matrix mattress mayor
maze meal measure meat mechanic medal medical medicine medium meeting member memory mental menu merchant mermaid message
meteor method metre mice microbe mighty mile military milk million mind mine mineral minister minor minute miracle
misery missile mission mist mitten mobile model modest molecule moment monarch monastery monday money monk monster month
monument mood moon moose moral morning mortar mosquito motel moth mother motion motor motto mould mound mouse mouth
movie mud muffin mug mule muscle museum mushroom music mustang mutual mystery myth nail name nanny napkin narrator
nation native nature naughty nausea neck needle negative neighbour neon nephew nerve nest net network neutral news
newspaper nice nickname niece night nightmare nitrogen noble-man noise nomad noodle normal nose note notebook nothing
notice novel november number nun nurse nut nylon oar oatmeal object oboe observer obvious octagon october octopus odd
offer officer oil ointment omega omelette onion onward opera opinion option oracle oral orbit orchard orchestra order
organ organic origin ornament orphan ostrich outfit outlaw output outside oven-glove overcoat owner oxen oxygen ozone
pace package packet paddle padlock page pageant pail pain paint painter pair pal palace palm pancake panda panel panic
panther papaya parade paradise parcel parent parish park parole parsley part partner party passport past pasta pastel
pastry pastor path patient patrol pattern pause pavement paw payment pea peace peak peanut pear peasant pedal peel
pelican pen penalty pencil penguin penny pension people percent perfect perfume period permit person pest pet petrol
phantom pharmacy phase pheasant philosopher phone photo phrase physics pianist pickle picnic picture pie piece pig
pigeon pile pill pillar pillow pin pinch pioneer-post pipe pistol pit pitch pizza placid plain plan plane plant plaster
plate platform platinum player plough plug plumber plunge plus pocket poem poet poison poker police policy polite poll
pollen polo pony pool-side poor pope popular porcelain pork port-hole porter portrait position positive post poster pot
potato potion pottery pouch pound powder power practice praise prayer preacher precious present president press pretty
price pride priest primary prince princess principal print prior prism prison prize problem process producer product
professor profile profit programme project promise proof proper property prophet protein protest proud province prune
public pudding puddle puffin pulse punch pupil puppet puppy pure purpose purse puzzle pyramid python quaint quality
quantity quarrel quarry quarter quest question queue quilt quiz quota rabbit-hole race racket radar radical radish raft
rag rail railway rain rake ramp ranch random range ranger rank rare rascal rat rational razor reader real reason rebel
recipe record reef referee reform regal region regular relay relic relief remedy remote rent reptile republic rescue
reserve resort respect result retail return reunion revenue review reward rhino rhyme rhythm rib rice rich riddle rider
rifle rigid ring riot ripple rise risk ritual rival road roast robber robot rocket rod rodeo rogue role roll roman
romance roof rookie rope rose-bush rotten route routine row rubber rubbish rude rug rugby ruin rule ruler rumour runner
runway rural rush sack sacred sad saddle safari safe sail saint salad salary sale salt salute sample sand sandal
sandwich sane satellite saturn sauce saucer sausage savage saw saxophone scale scallop scandal scare scene scent school
science scissors scooter score scorpion scout scrap script scroll sculptor sea seal search season seat secretary section
secure seed select senate senior sense september sequel serene series serious sermon serpent servant service session
settler severe sewer shade shaft shallow shame shampoo shape share shark sharp sheep sheet shelf shepherd sheriff shield
shift ship shirt shock shoe shore short shoulder shovel show shrimp shrub shuffle shy sibling sick siege sign signal
silence silk sill silly singer sister site size skate skeleton sketch ski skill skin skirt skull skunk slang sleep
sleeve slice slim slip slipper slogan slope slow smart smell smile smith smoke snack snail snake sneeze soap soccer
social society sock soda sofa software soil soldier sole solid solo solution song soul sound soup source space spade
spaghetti spark spatula special spectrum speech speed spell spider spike spin spinach spiral spirit splendid sponge
sponsor spoon sport spot spray spring spy squad squid stadium staff stage stain stake stall stamp standard star start
state station statue steak steam stem step stern steward stick stiff stitch stock stocking stomach stool stop storage
story straight strange stranger strategy strawberry stream street strict strike string strip strong student stump style
subject submarine subtle suburb subway success sudden suit suitcase sum sun sunday sunflower sunlight super supper
supply surface surgeon surprise survey suspect swamp swan-song sweat sweater sweet swimmer swing sword symbol symphony
syrup system table tablet tackle tactic tail tailor talent talk tame tank tape target tart task taste tattoo tavern tax
taxi tea teacher team tear teenager telescope tempest tempo tenant tender tennis tense tent term terrible terrier
territory test text textile thick thief thigh thing thorn thread threat throat throne thumb thursday ticket tide tie
tight tile time tin tired tissue title toad toast toe toffee toilet token tomato tomb tone tongue tool tooth torch
tornado tortoise total touch tough tour tourist towel town toy track tractor trade tradition traffic tragedy trail train
traitor tram trap traveller tray treasure treaty tree trellis trench trend trial triangle tribe trick tricycle trigger
trio trip triumph trolley trombone trophy trouble trousers trout truck true trumpet trunk trust truth tube tuesday tuna
tune turban turkey turn turnip tutor twig twist tycoon type typhoon ugly ulcer umbrella umpire uncle unicorn uniform
union unique unit universe urchin urgent urn useful usher usual vacant vagabond vague vain valid value vampire van
vandal vapour variety vase vast vegetable vehicle veil vein vendor venture verb verdict verse vessel vet vicar victim
victory video village villain vinegar vineyard violin virus visa vision visitor vital vocal voice void volley volume
voter voucher vowel voyage vulture waffle wage wagon waist waiter wall wallet walrus wand war ward warden warning
warrior wasp watch water watermelon wave wax wealth weapon weasel weather weaver web wedding wednesday weed week weight
weird welcome western whale wheat wheel whip whisper whistle widow wife wig wind window wine wing winner wire wisdom
wish witch wizard woman wonder wool word work world worm worry wound wreath wreck wrench wrist writer wrong yacht yard
yarn year yeast yoga yogurt young youth zero zigzag zodiac zone zoo
""".split()

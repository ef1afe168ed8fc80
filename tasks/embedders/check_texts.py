"""The 64 texts of the engine check: fixed, so that every engine is asked the same.

    QUERIES (16)      a word to a dozen: batches of short texts
    SENTENCES (16)    one or two sentences, in a dozen languages, with code, figures and signs
    PASSAGES (16)     a paragraph each: what a chunk usually is
    DOCUMENTS (16)    passages joined, up to about 1,000 words: longer than most models' windows

An engine that fails on long texts only, or on rare tokens only, must be found by some of them.
"""

from __future__ import annotations

QUERIES = (
    "bread",
    "undo a release",
    "why is the sky blue?",
    "cheap flights to Lisbon in May",
    "Kündigungsfrist Mietvertrag",
    "recette de la ratatouille",
    "HTTP 504",
    "SELECT count(*) FROM orders",
    "東京の天気",
    "как настроить прокси",
    "best way to remove rust from an old bicycle chain",
    "مواعيد القطارات",
    "v2.7.1-rc3",
    "el niño efectos en la pesca",
    "difference between TCP and UDP",
    "10 km run, training plan for beginners",
)

SENTENCES = (
    "The lighthouse was switched off in 1987, but its keeper stayed until the road was paved.",
    "Please restart the service after you have changed the certificate; otherwise clients will go "
    "on seeing the old one.",
    "Der Zug nach Görlitz hält heute nicht in Bautzen, weil dort die Weichen erneuert werden.",
    "Les abeilles reviennent à la ruche avant l'orage, bien que le ciel paraisse encore clair.",
    "La biblioteca municipal abre los sábados de nueve a dos y presta también instrumentos de "
    "música.",
    "Il vetro soffiato si raffredda lentamente nel forno: se si ha fretta, si rompe.",
    "O rio subiu três metros em dois dias e levou a ponte de madeira junto à capela.",
    "Зимой паром не ходит, и почту на остров доставляют на вертолёте раз в неделю.",
    "图书馆在二楼新开了一间阅览室，周末也对外开放。",
    "雨が止んだら、庭の石を洗って苔を植え直しましょう。",
    "도서관에서 빌린 책을 버스에 두고 내려서 분실물 센터에 전화했다.",
    "पहाड़ी गाँव तक सड़क पहुँचने के बाद सेब शहर के बाज़ार में बिकने लगे।",
    "يجف الطين في الشمس ثلاثة أيام قبل أن يوضع في الفرن.",
    "def area(r: float) -> float:\n    return math.pi * r ** 2  # r in metres",
    "Total: 1,284.50 EUR (VAT 19 %: 205.09), due 2024-03-31, IBAN on the back 🙂",
    "Η θάλασσα ήταν ήρεμη, κι όμως κανένα καΐκι δεν βγήκε για ψάρεμα εκείνο το πρωί.",
)

PASSAGES = (
    "A sourdough starter is a small colony of yeast and bacteria that lives on flour and water. "
    "Feed it once a day while it stands in the kitchen, or once a week in the refrigerator. When "
    "it doubles within six hours and smells of yoghurt rather than of nail varnish, it is strong "
    "enough to raise a loaf. Too warm a place makes it sour, too cold a place makes it slow; most "
    "failures come from impatience.",
    "The committee met on Tuesday to discuss the bridge. Three designs had been sent in. The first "
    "was the cheapest, but its piers would have stood in the spawning ground of the grayling; the "
    "second needed a road through the orchard; the third, a plain timber arch, was twice as long "
    "in the making. After two hours the members agreed to ask for a better estimate of the third.",
    "To change the battery, switch the instrument off and turn it over. Loosen the two screws with "
    "a cross-head driver, lift the cover and pull the connector straight out, never by its wires. "
    "Put the new cell in with the marked side upward. If the display shows E3 afterwards, the "
    "connector is not seated: open the cover again and press until it clicks.",
    "Glaciers move because ice under pressure creeps, and because water lets the whole mass slide "
    "over its bed. In winter the channels below close and the pressure rises; in spring meltwater "
    "finds them, and for some weeks the tongue may advance several metres a day. Later, when the "
    "drains are wide, the same amount of water passes without lifting anything.",
    "Table 4 lists the yields by year. In 2016 the plots with clover gave 4.1 t/ha, those without "
    "3.2; in the dry summer of 2018 it was 2.9 against 1.4. The difference is significant at the "
    "1 % level in both years (n = 24). Nitrogen in the soil rose from 0.11 to 0.16 %, while the "
    "density fell from 1.41 to 1.33 g/cm³. No effect on the second crop was found.",
    "I booked two nights for my parents and can only half recommend it. The room was spotless and "
    "the view over the harbour is as pretty as in the pictures. Breakfast, though, ended at nine "
    "sharp, the lift was out of order, and nobody told us until we stood before it with three "
    "suitcases. The young man at the desk carried all of them upstairs, for which he gets a star "
    "of his own.",
    'class Ring:\n    """A buffer of fixed size: the oldest value makes room for the newest."""\n\n'
    "    def __init__(self, size: int) -> None:\n        self.values = [None] * size\n"
    "        self.next = 0\n\n    def push(self, value: object) -> None:\n"
    "        self.values[self.next] = value\n"
    "        self.next = (self.next + 1) % len(self.values)",
    "Die Werkstatt liegt im Hinterhof, und wer sie nicht kennt, läuft daran vorbei. Drinnen riecht "
    "es nach Leim und Buchenholz. An der Wand hängen Geigen ohne Decke, Bögen ohne Haar, eine "
    "Bratsche mit einem Riss. Für die Reparatur eines Stegs rechnet der Meister zwei Tage, für "
    "eine neue Zarge drei Wochen. Eilaufträge nimmt er nicht an; das Holz, sagt er, hat es auch "
    "nie eilig gehabt.",
    "Le marché se tient chaque jeudi sous la halle, de sept heures à midi. On y trouve des "
    "poireaux encore pleins de terre, du fromage de chèvre, des couteaux, et un homme qui répare "
    "les parapluies. Les prix sont écrits à la craie. Vers onze heures, quand les paniers sont "
    "presque vides, tout coûte moitié moins, et l'on vient moins pour acheter que pour parler.",
    "Los volcanes de la isla no han despertado desde hace dos siglos, pero el suelo sigue caliente "
    "en algunos lugares. Los campesinos cavan hoyos en la ceniza negra y plantan en cada uno una "
    "sola vid, protegida del viento por un muro de piedra en forma de media luna. La ceniza guarda "
    "el rocío de la noche; sin ella no habría agua suficiente para una sola uva.",
    "Музей открыли в бывшем депо. Паровозы стоят там же, где их оставили, только теперь к каждому "
    "приставлена лестница. Дети лезут в кабину и тянут за рычаги, взрослые читают таблички: год "
    "выпуска, вес, сколько угля уходило на сто километров. По воскресеньям один из локомотивов "
    "растапливают, и тогда весь квартал пахнет дымом.",
    "河边的老茶馆每天清晨五点开门。第一批客人多半是刚下夜班的工人和遛鸟的老人。一碗盖碗茶可以坐到中午，"
    "伙计提着长嘴铜壶来回添水，从不催促。墙上的价目表三十年没有换过，数字却改了许多次。有人下棋，"
    "有人看报，也有人什么都不做，只是望着河面上的雾慢慢散去。",
    "夏の終わりになると、港の倉庫で小さな映画祭が開かれる。椅子は漁師の家から集めたもので、高さも色も"
    "ばらばらだ。上映の合間には焼いた魚と冷たい麦茶が配られ、監督も観客も同じ列に並ぶ。今年は雨で一日"
    "延びたが、誰も帰らず、濡れた幕が乾くまで歌を歌って待っていた。",
    "## Upgrading\n\n1. Stop the workers: `systemctl stop queue-worker@*`.\n2. Back up "
    "`/var/lib/queue`.\n3. Install the package and run `queue migrate --check`.\n4. Start one "
    "worker and watch `journalctl -f`; a line with **schema 12** means that the migration is "
    "done.\n\n> Downgrades are not supported. If step 3 prints `orphaned: n > 0`, do not go on.",
    "Bats find insects by listening to the echoes of their own calls. The calls of a noctule reach "
    "20 kHz and carry far over open meadows; a horseshoe bat calls above 80 kHz and hears the beat "
    "of a single wing, but only within a few metres. Some moths have ears tuned to exactly these "
    "frequencies, drop to the ground when they hear them, and so live another night.",
    "Tenancy may be ended by either party with three months' notice in writing, to the end of a "
    "month. Until then rent is due on the third working day. The deposit of two months' rent is "
    "returned within six weeks of the keys, less what is needed to repair damage beyond ordinary "
    "wear. Alterations (walls, floors, fixed wiring) need the landlord's consent; a refusal must "
    "be given with reasons.",
)

DOCUMENT_LENGTHS = (2, 2, 2, 2, 3, 3, 3, 4, 4, 5, 5, 6, 7, 8, 10, 14)
"""Passages in each document: most are some hundred tokens, the last is beyond a window of 1,024."""


def _documents() -> tuple[str, ...]:
    """Runs of passages, each beginning one further on, joined by a blank line."""
    return tuple(
        "\n\n".join(PASSAGES[(first + i) % len(PASSAGES)] for i in range(length))
        for first, length in enumerate(DOCUMENT_LENGTHS)
    )


CHECK_TEXTS: tuple[str, ...] = QUERIES + SENTENCES + PASSAGES + _documents()
"""64 texts, shortest part first."""

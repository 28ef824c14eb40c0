"""Every English sentence of the pages, in one place. Templates find them as `t`."""

# On every page
PRODUCT = "Pneumoscreen"
NOT_A_DIAGNOSIS = "Screening aid, not a diagnosis. Not a diagnostic display."
SKIP_TO_CONTENT = "Skip to content"
NAV_LABEL = "Pages"
NAV_WORKLIST = "Worklist"
NAV_BATCH = "Batch"
NAV_OVERVIEW = "How it goes"
NAV_ACCOUNTS = "Accounts"
NAV_ME = "My account"
LOG_OUT = "Log out"
TIMES_ARE_UTC = "Times are UTC."

# Log-in
LOG_IN = "Log in"
NAME = "Name"
PASSWORD = "Password"
LOGIN_FAILED = (
    "That did not work: the name or the password is wrong, or there were too many attempts. "
    "After five of them, wait for a quarter of an hour, or ask an admin for a one-time link."
)
LOGIN_HELP = "No account, or a forgotten password? An admin gives you a one-time link."

# One-time link
CHOOSE_PASSWORD = "Choose your password"
CHOOSE_PASSWORD_FOR = "This link is for the account"
PASSWORD_RULE = "At least 12 characters. Four words that do not belong together are easy to keep and hard to guess."
NEW_PASSWORD = "New password"
NEW_PASSWORD_AGAIN = "New password once more"
LOGGED_IN_AS = "This browser is logged in as"
LOGS_OTHER_OUT = "saving this logs that account out here."
PASSWORDS_DIFFER = "The two passwords are not the same."
LINK_IS_OVER_TITLE = "This link is over"
LINK_IS_OVER = "It was used, or is too old. Ask an admin for a new one."
SAVE_PASSWORD = "Save, and log in"

# My account
MY_ACCOUNT = "My account"
ROLE = "Role"
CHANGE_PASSWORD = "Change my password"
PRESENT_PASSWORD = "Present password"
SAVE = "Save"
PASSWORD_CHANGED = "Your password is changed. Your other sessions have ended."
MY_SESSIONS = "Where I am logged in"
THIS_ONE = "this browser"
SINCE = "Since"
LAST_USED = "Last used"
ADDRESS = "From"
METHOD = "By"
END_SESSION = "End"
END_OTHERS = "End all others"
MY_TOKENS = "My API tokens"
TOKEN_NAME = "What is it for?"
MAKE_TOKEN = "Make a token"
TOKEN_ONCE = "Copy it now: it is shown this once."
REVOKE = "Revoke"
NO_TOKENS = "None."
NEVER = "never"
API_DESCRIPTION = "What programs may ask for"

# Accounts
ACCOUNTS = "Accounts"
ACCOUNTS_BY_COMMAND = (
    "This service's database role may not change accounts. On the server, run these commands, "
    "or set admin_database_url:"
)
ADD_ACCOUNT = "Add an account"
ADD = "Add"
DISABLE = "Disable"
ENABLE = "Enable"
RESET_PASSWORD = "One-time link"
CREATED = "Made"
CHANGE = "Change"
STATE = "State"
DISABLED = "disabled"
ACTIVE = "active"
WAITS_FOR_LINK = "has a link, no password yet"
NO_PASSWORD = "no password"
LINK_ONCE = "Give this link to nobody else. It works once, and is shown this once:"

# When something is wrong
ERRORS = {
    400: "That request makes no sense",
    401: "Log in first",
    403: "That is not for you",
    404: "There is no such page",
    405: "That is not done this way",
    409: "That cannot be done now",
    413: "That is too much at once",
    422: "This image cannot be shown",
    500: "Something went wrong here",
    503: "The database is out of reach",
}
DATABASE_AWAY = "What you have entered is not saved yet. The page tries again; if it stays so, tell your admin."
NOT_FOUND = "The address may be mistyped, or the image may have been erased."
UNKNOWN_ERROR = "It stands in the service's log. Nothing that you had saved before is lost."
BACK = "To the worklist"

# Worklist
WORKLIST = "Worklist"
UNREAD = "Unread"
OLDEST_URGENT = "Oldest urgent"
NO_URGENT = "none waits"
PAST_LIMIT = "past its limit"
MY_COUNT = "My words today"
START_READING = "Start reading"
FILTER = "Filter"
CLEAR = "Clear"
ANY = "any"
STATE_NAMES = {
    "open": "to be read",
    "unread": "nobody has read it",
    "second": "waits for a second reader",
    "disputed": "disputed",
    "unclear": "unclear, or other finding",
    "mine": "read by me",
    "quarantined": "quarantined",
}
LANE_NAMES = {"stat": "urgent", "routine": "routine", "background": "background", "suspect": "alone"}
SOURCE = "Source"
LANE = "Lane"
VERSION = "Version"
FROM_DAY = "From"
UNTIL_DAY = "Until"
READER = "Reader"
WHY = "Why"
MODEL_SAYS = "Model says"
WHY_HINT = (
    "`Why` and `Model says` find only images of sources that show the answer before the word. "
    "A word that is given on such a list counts as given in sight of the answer."
)
SEARCH = "Search"
SEARCH_HINT = "Accession number, study UID, file name or patient id. What you type is kept nowhere."
SEARCH_OVER = "This search is over: type it again."
NOTHING_FOUND = "Nothing matches."
NEXT_PAGE = "Next page"
FIRST_PAGE = "First page"
ARRIVED = "Arrived"
WAITS = "Waits"
ACCESSION = "Accession"
AGE = "Age"
READING = "Reading"
READERS = "Readers"
PICTURE = "Picture"
OUTSIDE = "outside the model's ages"
READS_NOW = "is reading this"
NEW_ROWS = "more above or between: show them"
NOT_BEFORE_WORD = "after your word"
DONE_NOW = "done"
WAITS_FOR = {"first": "0 read", "second": "1 read, wants 2", "senior": "disputed or unclear: a senior"}
READ_DONE = "read"

# Reading
LIST = "List"
WORDS = "Your word"
WORD_NAMES = {"NORMAL": "Normal", "PNEUMONIA": "Pneumonia", "UNCLEAR": "Unclear", "NOT_READABLE": "Not readable"}
OTHER_FINDING = "Other finding"
OTHER_FINDING_HINT = "Goes to a senior, as unclear ones do; neither trains a model."
NOTE = "Note"
SAVE_NEXT = "Save and next"
GO_ON = "Next image"
SKIP = "Skip"
UNDO = "Undo"
UNDO_REASON = "Why do you take it back?"
BLIND_NOW = "You speak first: nothing is told before your word."
DRAWN_NOW = "This image was drawn at random to measure the model, so its answer is not shown."
SECOND_NOW = "Second reading: neither the model nor the first word is shown."
SENIOR_NOW = "Readers differ, or could not tell. Your word decides."
SEEN_ANSWER = "You have seen the model's answer: this word is stored as given after it."
MODEL = "Model"
MODEL_NOW, MODEL_BEFORE = "Model now", "Before"
CHANGED_SINCE_WORD = "The image was screened anew since your word: both results are shown."
CHANGED_NOW = "It was screened anew, or its file replaced, since you opened it: look again before you save."
PROBABILITY = "Probability"
THRESHOLD = "Threshold"
POINT = "Operating point"
OWN_THRESHOLD = "none of this source: the version's own threshold"
PROVISIONAL = "provisional"
NEAR_TEXT = "Near the threshold: hardly more than a guess."
UNFAMILIAR_TEXT = "Unlike what the model knows: read it as if there were no model."
OUTSIDE_TEXT = "The patient's age is outside the ages that the model was made for."
NO_PERCENTAGE = "No percentage: this source has no operating point of its own, so none was checked here."
EARLIER_WORDS = "Words on this image"
NO_WORDS = "none yet"
COUNTS = "What counts"
RULES = {
    "senior": "a senior has decided",
    "agreement": "most readers agree",
    "single": "the only word",
    "newest": "the newest word, as readers differ or could not tell",
    "batch": "given to many at once",
}
SOMEBODY = "A reader"
EARLIER_IMAGES = "Earlier images of this patient"
NO_EARLIER = "None is known."
NO_WORD = "not read"
DISAGREES = "You and the model differ. Why?"
DISAGREEMENTS = {
    "film": "Film quality",
    "device": "Device in the picture",
    "disease": "Other disease",
    "model": "Model wrong",
    "other": "Other",
}
MAP = "Evidence map"
MAP_CAPTION = "What moved this score, not where the disease is."
MAP_SCALE = "orange moves it towards PNEUMONIA, blue towards NORMAL"
OPACITY = "Opacity"
RIM_SHARE = "Share of what speaks for PNEUMONIA that lies at the picture's edge, where no lung is (by chance: 44 %)"
CONTRAST = "Contrast"
WINDOW_NAMES = {
    "dicom": "DICOM window",
    "dicom2": "second DICOM window",
    "full": "full range",
    "percentile": "1 to 99 percentile",
    "model": "as the model sees it",
}
SIDE_BY_SIDE = "Side by side"
VIEWER = "Open in the site's viewer"
HELP = "Keys"
NOT_SAVED_YET = "Not saved yet: the service or its database is away. The word is kept here, and sent when it is back."
LOGGED_OUT = "Not saved yet: you were logged out. Log in again in another window; the word is kept here, and sent then."
SAVED, SAVED_BEFORE = "Saved", "Saved, image before"
CHOOSE_FIRST = "Choose a word first: 1, 2, 3 or 4."
COMPUTING = "Being computed …"
TAKEN_OVER = "has this image open, too: both words stand."
FILE_REPLACED = "The file was replaced: the newer image"
LIST_DONE = "Nothing is left to read on this list."
ARRIVAL = "Arrival"
VIEW = "View"
FLAGS = "Header"
FILE = "File"
RULER, RULER_AT_DETECTOR = "50 mm", "50 mm at the detector"
KEYS = (
    ("1 2 3 4", "normal, pneumonia, unclear, not readable"),
    ("5", "other finding, on and off"),
    ("n", "note"),
    ("Enter", "save and next"),
    ("← →", "previous, next image"),
    ("k", "skip"),
    ("u, Ctrl+Z", "undo my last word"),
    ("m (hold)", "evidence map"),
    ("b", "side by side with the earlier image"),
    ("/", "search"),
    ("?", "these keys"),
    ("Esc", "to the list"),
    ("z + - =", "zoom on and off, in, out, fit"),
    ("i r l h v", "invert, rotate right, left, flip, flip upside down"),
    ("w", "next contrast"),
    ("Space", "reset"),
    ("Mouse", "left drag window and level, wheel zoom, middle drag pan, double click reset"),
    ("Touch", "pinch zooms, two fingers pan, one finger window and level"),
)

# Batch
BATCH = "Plain negatives"
BATCH_EXPLAINED = (
    "Images of which the model is sure that they are normal, from sources that show its answer. Look at each; a click "
    "takes one out. The words are stored as a batch: they never train a model, calibrate it or count."
)
BATCH_SAVE = "The rest is normal"
BATCH_EMPTY = "There is no plain negative to show. Sources whose answers are hidden until the word have none here."
BATCH_WAIT = "Scroll through all of them: each must be in sight for a second."
BATCH_DONE = "words were saved as a batch."
TAKEN_OUT = "taken out: it stays on the list"

# How it goes
OVERVIEW = "How it goes"
IMAGES_A_DAY = "Images a day"
WAITS_BY_LANE = "Waits by lane, minutes"
POSITIVES = "Positives"
QUARANTINED = "Quarantined, by reason"
ACCURACY = "Accuracy by audit samples: recall"
DRIFT = "Drift by source: PSI of scores"
AGREEMENT = "Agreement of readers: kappa"
DISAGREEMENT_LIST = "Readers and the model differ"
VERSIONS = "Model versions"
TRAININGS = "Trainings"
CARD = "card"
OPERATING_POINTS = "Operating points"
BY_COMMAND = "Draws and operating points are an admin's, by command on the server:"
ADMIN_COMMANDS = (
    "pneumoscreen calibrate draw --source NAME",
    "pneumoscreen calibrate fit --source NAME",
    "pneumoscreen calibrate apply NUMBER",
)
AS_CSV = "CSV"
NO_DATA = "Nothing yet."
OVERVIEW_NOTE = "Of the last 30 days, where nothing else is said."

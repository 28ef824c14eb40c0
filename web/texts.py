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

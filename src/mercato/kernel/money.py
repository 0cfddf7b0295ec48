"""Money: integers of minor units inside, exact decimals outside, never a float.

Digits per currency are ISO 4217's. Amounts stay below 10^12 major units, which a double
holds exactly to the last digit of any currency here, so JSON readers of any language agree.
"""

from decimal import Decimal

from mercato.kernel.errors import FieldError, ValidationFailed

MAX_MAJOR_UNITS = 10**12

# ISO 4217 (2024 amendments): the active currencies by number of minor-unit digits.
_TWO = (
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD "
    "CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ "
    "GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL "
    "MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR "
    "PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT "
    "TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD YER ZAR ZMW ZWG"
)
_NONE = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE = "BHD IQD JOD KWD LYD OMR TND"

EXPONENTS: dict[str, int] = (
    dict.fromkeys(_TWO.split(), 2) | dict.fromkeys(_NONE.split(), 0) | dict.fromkeys(_THREE.split(), 3)
)
"""Minor-unit digits of each currency that a store may use."""


class Amount(Decimal):
    """An amount of money as a request carries it: a JSON number, kept exactly."""


def currency(code: str, *, field: str = "currency") -> str:
    """Return `code` if stores may use it; else raise ValidationFailed naming `field`."""
    if code not in EXPONENTS:
        raise ValidationFailed.field(field, "must be an ISO 4217 currency code, such as USD")
    return code


def to_minor(amount: Decimal, code: str, *, field: str) -> int:
    """Return `amount` in minor units of currency `code`.

    Raises ValidationFailed naming `field` if it has more digits than the currency, is
    negative, or is 10^12 or more.
    """
    digits = EXPONENTS[code]
    if not amount.is_finite() or amount < 0 or amount >= MAX_MAJOR_UNITS:
        raise ValidationFailed.of(FieldError(field, "must be at least 0 and below 1000000000000"))
    # The bounds above come first: scaling 1e400 would build the number it denies.
    whole = int(amount.scaleb(digits))
    # Scaling rounds to the context's 28 digits; comparing does not round.
    if to_decimal(whole, code) != amount:
        raise ValidationFailed.of(FieldError(field, f"must have at most {digits} decimal digits in {code}"))
    return whole


def check_total(minor: int, code: str, *, field: str) -> int:
    """Return a sum in minor units, or raise ValidationFailed if it is 10^12 major units or more."""
    if minor >= MAX_MAJOR_UNITS * 10 ** EXPONENTS[code]:
        raise ValidationFailed.field(field, f"their total must be below {MAX_MAJOR_UNITS}")
    return minor


def to_decimal(minor: int, code: str) -> Decimal:
    """Return `minor` units of currency `code` with exactly the currency's digits."""
    return Decimal(minor).scaleb(-EXPONENTS[code])

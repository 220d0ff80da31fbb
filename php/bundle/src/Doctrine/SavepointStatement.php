<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Doctrine;

/**
 * A statement that sets, releases or rolls back to a savepoint, in the words of the databases that DBAL knows.
 *
 * @internal
 */
final class SavepointStatement
{
    public const SET = 'set';
    public const RELEASE = 'release';
    public const ROLL_BACK = 'roll back';

    private const NAME = '("(?:[^"]|"")+"|`(?:[^`]|``)+`|\[[^\]]+\]|[^\s;]+)\s*;?\s*$~iD';

    /** The second one of each is SQL Server's. */
    private const PATTERNS = [
        self::SET => '~^\s*(?:SAVEPOINT|SAVE\s+TRAN(?:SACTION)?)\s+'.self::NAME,
        self::RELEASE => '~^\s*RELEASE\s+(?:SAVEPOINT\s+)?'.self::NAME,
        self::ROLL_BACK => '~^\s*ROLLBACK\s+(?:(?:(?:WORK|TRANSACTION)\s+)?TO\s+(?:SAVEPOINT\s+)?|TRAN(?:SACTION)?\s+)'.self::NAME,
    ];

    /** @param self::SET|self::RELEASE|self::ROLL_BACK $kind */
    private function __construct(public readonly string $kind, public readonly string $savepoint)
    {
    }

    /** Null for any other statement. */
    public static function read(string $sql): ?self
    {
        // All three begin with one of two letters: most statements are not looked at any further.
        if (!\in_array($sql[strspn($sql, " \t\r\n")] ?? '', ['S', 's', 'R', 'r'], true)) {
            return null;
        }
        foreach (self::PATTERNS as $kind => $pattern) {
            if (1 === preg_match($pattern, $sql, $match)) {
                // Names that are not quoted are the same in any case of letters.
                return new self($kind, \in_array($match[1][0], ['"', '`', '['], true) ? $match[1] : strtolower($match[1]));
            }
        }

        return null;
    }
}

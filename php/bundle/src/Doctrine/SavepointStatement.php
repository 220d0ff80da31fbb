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

    private const COMMENT = '/\*(?:[^*]|\*(?!/))*+\*/|(?:--|#)[^\r\n]*+';
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
        $at = strspn($sql, " \t\r\n");
        // A comment of a middleware that tells the database who asks.
        if (\in_array($sql[$at] ?? '', ['/', '-', '#'], true) && 1 === preg_match('~^(?:\s|'.self::COMMENT.')+~', $sql, $match)) {
            $at = \strlen($match[0]);
        }
        // Most statements are not looked at any further.
        if (!\in_array(strtoupper(substr($sql, $at, 2)), ['SA', 'RE', 'RO'], true)) {
            return null;
        }
        $sql = preg_replace('~(?:\s+(?:'.self::COMMENT.')?)+$~D', '', substr($sql, $at)) ?? $sql;
        foreach (self::PATTERNS as $kind => $pattern) {
            if (1 === preg_match($pattern, $sql, $match)) {
                // Names that are not quoted are the same in any case of letters.
                return new self($kind, \in_array($match[1][0], ['"', '`', '['], true) ? $match[1] : strtolower($match[1]));
            }
        }

        return null;
    }
}

<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger\Config;

/**
 * Values of fervo-worker.toml.
 *
 * @internal
 */
final class Toml
{
    /** A text of the application: the worker takes it as it is. */
    public static function text(string $text): string
    {
        // "${" would begin a variable; the worker reads "$${" as these two characters.
        return self::quote(str_replace('${', '$${', $text));
    }

    /** The value of an environment variable. */
    public static function variable(string $name): string
    {
        return self::quote('${'.$name.'}');
    }

    /** @param list<string> $texts */
    public static function texts(array $texts): string
    {
        return '['.implode(', ', array_map(self::text(...), $texts)).']';
    }

    /** @param array<string, string> $texts */
    public static function table(array $texts): string
    {
        return '{ '.implode(', ', array_map(static fn (string $key, string $text): string => self::key($key).' = '.self::text($text), array_keys($texts), $texts)).' }';
    }

    public static function key(string $name): string
    {
        return 1 === preg_match('/^[A-Za-z0-9_-]+$/', $name) ? $name : self::quote($name);
    }

    /** @return list<string> lines that begin with "# ", of at most 128 characters where words allow it */
    public static function comment(string $text): array
    {
        // No character of the application ends a comment.
        return array_map(static fn (string $line): string => '# '.$line, explode("\n", wordwrap((string) preg_replace('/[\x00-\x1f\x7f]+/', ' ', $text), 126)));
    }

    private static function quote(string $text): string
    {
        // DEL is the only character that JSON has as it is and TOML has not.
        return str_replace("\x7f", '\u007f', json_encode($text, \JSON_UNESCAPED_SLASHES | \JSON_UNESCAPED_UNICODE | \JSON_THROW_ON_ERROR));
    }
}

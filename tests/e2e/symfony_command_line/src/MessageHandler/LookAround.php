<?php

declare(strict_types=1);

namespace App\MessageHandler;

use App\Journal;
use App\Message\Look;
use Symfony\Component\Messenger\Attribute\AsMessageHandler;
use Symfony\Component\Routing\Generator\UrlGeneratorInterface;

/** Writes all of its surroundings that a handler can notice, as one JSON object of texts. */
#[AsMessageHandler]
final class LookAround
{
    public function __construct(private readonly Journal $journal, private readonly UrlGeneratorInterface $urls)
    {
    }

    public function __invoke(Look $look): void
    {
        $seen = [
            'PHP_SAPI' => \PHP_SAPI,
            'PHP_VERSION' => \PHP_VERSION,
            'STDIN' => \defined('STDIN'),
            'STDOUT' => \defined('STDOUT'),
            '$argv' => isset($GLOBALS['argv']),
            'getcwd()' => getcwd(),
            'umask()' => umask(),
            'user' => posix_geteuid(),
            'ob_get_level()' => ob_get_level() > 0,
            'time limit' => \ini_get('max_execution_time'),
            'a URL' => $this->urls->generate('order', ['id' => 7], UrlGeneratorInterface::ABSOLUTE_URL),
            'locale' => setlocale(\LC_ALL, '0'),
            'error handler' => $this->nameOf(set_error_handler(null)),
            'stream_isatty(STDERR)' => \defined('STDERR') && stream_isatty(\STDERR),
        ];
        restore_error_handler();
        foreach (ini_get_all(null, false) as $name => $value) {
            $seen['ini '.$name] = (string) $value;
        }
        foreach (get_loaded_extensions() as $name) {
            $seen['extension '.strtolower($name)] = true;
        }
        foreach (getenv() as $name => $value) {
            $seen['getenv() '.$name] = $value;
        }
        foreach ($_ENV as $name => $value) {
            $seen['$_ENV '.$name] = $value;
        }
        foreach ($_SERVER as $name => $value) {
            $seen['$_SERVER '.$name] = \is_scalar($value) ? $value : json_encode($value);
        }
        $this->journal->write('seen '.json_encode(array_map(static fn (mixed $value): string => \is_bool($value) ? ($value ? 'yes' : 'no') : (string) $value, $seen), \JSON_INVALID_UTF8_SUBSTITUTE));
    }

    private function nameOf(?callable $handler): string
    {
        return \is_array($handler) ? get_debug_type($handler[0]) : get_debug_type($handler);
    }
}

<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Fixtures;

use Symfony\Contracts\Service\ResetInterface;

/** A service that writes down what happened, in a file that outlives the process. */
final class Recorder implements ResetInterface
{
    /** What lives until the script has ended. */
    public ?object $atTheEnd = null;

    private int $seen = 0;

    public function __construct(private readonly string $file)
    {
    }

    public function add(string $line): void
    {
        ++$this->seen;
        file_put_contents($this->file, $line."\n", \FILE_APPEND);
    }

    /** How often add() was called since the last reset. */
    public function seen(): int
    {
        return $this->seen;
    }

    public function reset(): void
    {
        $this->seen = 0;
    }

    /** @return list<string> */
    public static function read(string $file): array
    {
        return is_file($file) ? file($file, \FILE_IGNORE_NEW_LINES) : [];
    }
}

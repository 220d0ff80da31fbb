<?php

declare(strict_types=1);

namespace Fervo\Runner\Tests;

use PHPUnit\Framework\TestCase;

/** What Composer installs, and the copies for those who do without it. */
final class PackageTest extends TestCase
{
    private const ROOT = __DIR__.'/../../..';

    public function testTheArchiveHasWhatAnApplicationNeedsAndNothingElse(): void
    {
        exec('cd '.escapeshellarg(__DIR__.'/..').' && git ls-files --cached --others --exclude-standard | cut -d/ -f1 | LC_ALL=C sort -u | git check-attr export-ignore --stdin', $lines);
        $kept = preg_filter('/^(\S+): export-ignore: unspecified$/', '$1', $lines);

        self::assertSame(['LICENSE', 'README.md', 'autoload.php', 'composer.json', 'src'], array_values($kept));
    }

    /** `scripts/copy-runner` makes them, after each change of src/. */
    public function testTheCopiesAreEqual(): void
    {
        exec(self::ROOT.'/scripts/copy-runner --check 2>&1', $said, $code);

        self::assertSame(0, $code, implode("\n", $said));
    }

    public function testTheBundleReplacesThisPackageByItsCopy(): void
    {
        [$runner, $bundle] = array_map(
            static fn (string $folder): array => json_decode((string) file_get_contents(self::ROOT."/php/$folder/composer.json"), true, 512, \JSON_THROW_ON_ERROR),
            ['runner', 'bundle'],
        );

        self::assertSame([$runner['name'] => 'self.version'], $bundle['replace']);
        self::assertSame('runner/', $bundle['autoload']['psr-4']['Fervo\Runner\\']);
        self::assertSame($runner['require']['php'], $bundle['require']['php']);
        self::assertSame($runner['extra'], $bundle['extra']);
    }
}

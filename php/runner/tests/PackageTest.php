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

        self::assertSame(['CHANGELOG.md', 'LICENSE', 'README.md', 'autoload.php', 'composer.json', 'src'], array_values($kept));
    }

    public function testTheReadmesFrontControllerRunsJobs(): void
    {
        preg_match('/^```php\n(.*?)^```$/ms', (string) file_get_contents(__DIR__.'/../README.md'), $block);
        $mailer = 'namespace App { class Mailer { public function send(mixed $mail): void { touch($_SERVER["TOUCHED"]); } } }';
        $require = '/^require __DIR__.*;$/m';
        $script = tempnam(sys_get_temp_dir(), 'fervo-runner-');
        file_put_contents($script, "<?php $mailer namespace { require ".var_export(\dirname(__DIR__).'/autoload.php', true).';'.preg_replace($require, '', substr($block[1], \strlen('<?php')), 1, $count).'}');
        foreach (['mail' => true, 'other' => false] as $queue => $runs) {
            exec("FERVO_JOB_ID=7 FERVO_QUEUE=$queue TOUCHED=$script.touched ".escapeshellarg(\PHP_BINARY)." -d display_errors=1 $script", $said, $code);
            self::assertSame([1, 0, [], $runs], [$count, $code, $said, file_exists("$script.touched")]);
            @unlink("$script.touched");
        }
        unlink($script);
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

<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Messenger\Config;

use Fervo\DeferredEventBundle\Messenger\Config\CheckFacts;
use Fervo\DeferredEventBundle\Tests\Support\Folder;
use PHPUnit\Framework\TestCase;

/** As root, who may read everything, it runs as another user. */
final class CheckFactsTest extends TestCase
{
    public function testItHasPhpsSettingsAsPhpHasStarted(): void
    {
        $before = \ini_get('precision');
        ini_set('precision', '3');
        try {
            $php = (new CheckFacts(Folder::create(), 'prod', '/nowhere'))->read()['php'];
        } finally {
            ini_set('precision', (string) $before);
        }

        self::assertSame(\PHP_VERSION, $php['version']);
        self::assertSame(ini_get_all(null, true)['precision']['global_value'], $php['settings']['precision']);
        self::assertNotSame('3', $php['settings']['precision']);
        self::assertContains('json', $php['extensions']);
    }

    public function testItNamesFilesThatTheUserCannotReadOrWrite(): void
    {
        $folder = Folder::create();
        mkdir($folder.'/config/secrets/prod', 0755, true);
        mkdir($folder.'/var/cache/prod', 0755, true);
        file_put_contents($folder.'/.env', '');
        file_put_contents($folder.'/.env.local', '');
        file_put_contents($folder.'/config/secrets/prod/prod.decrypt.private.php', '');
        self::assertSame([[], []], $this->troubles($folder));

        chmod($folder.'/.env.local', 0);
        chmod($folder.'/config/secrets/prod/prod.decrypt.private.php', 0);
        chmod($folder.'/var/cache/prod', 0555);
        self::assertSame([[$folder.'/.env.local', $folder.'/config/secrets/prod/prod.decrypt.private.php'], [$folder.'/var/cache/prod']], $this->troubles($folder));

        chmod($folder.'/config/secrets/prod', 0);
        self::assertSame([$folder.'/.env.local', $folder.'/config/secrets/prod'], $this->troubles($folder)[0]);
        chmod($folder.'/config/secrets/prod', 0755);
        chmod($folder.'/var/cache/prod', 0755);
    }

    /** @return array{list<string>, list<string>} */
    private function troubles(string $folder): array
    {
        $source = (string) (new \ReflectionClass(CheckFacts::class))->getFileName();
        // The classes are loaded before the user changes.
        $code = \sprintf('require %s; require %s; class_exists(%s::class); ', var_export(\dirname($source).'/PoolFile.php', true), var_export($source, true), CheckFacts::class);
        if (0 === posix_geteuid()) {
            $code .= 'posix_setgid(65534); posix_setuid(65534); ';
            foreach (['', '/var', '/var/cache', '/var/cache/prod'] as $part) {
                chown($folder.$part, 65534);
            }
        }
        $code .= \sprintf('$files = (new %s(%s, "prod", %s))->read()["files"]; echo json_encode([$files["unreadable"], $files["unwritable"]]);', CheckFacts::class, var_export($folder, true), var_export($folder.'/var/cache/prod', true));
        exec(\PHP_BINARY.' -r '.escapeshellarg($code).' 2>&1', $output, $status);
        self::assertSame(0, $status, implode("\n", $output));

        return json_decode(implode('', $output), true, 512, \JSON_THROW_ON_ERROR);
    }
}

<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Docs;

use Fervo\DeferredEventBundle\DependencyInjection\Configuration;
use Fervo\DeferredEventBundle\Messenger\FervoTransportFactory;
use Fervo\DeferredEventBundle\Tests\Fixtures\TestKernel;
use Fervo\DeferredEventBundle\Tests\Support\Folder;
use PHPUnit\Framework\TestCase;
use Symfony\Bundle\FrameworkBundle\Console\Application;
use Symfony\Component\Config\Definition\Processor;
use Symfony\Component\Yaml\Yaml;

/** What the documentation shows is right. */
final class DocsTest extends TestCase
{
    private const FOLDER = __DIR__.'/../..';
    private const DOCS = ['docs/testing.md', 'docs/coming-from-messenger.md'];
    private const ALL = ['README.md', 'UPGRADE.md', 'CHANGELOG.md', ...self::DOCS];

    public function testTheExamplesOfDocsAreTakenFromTests(): void
    {
        $tests = self::flat(file_get_contents(__DIR__.'/shop.php').file_get_contents(__DIR__.'/CheckoutTest.php'));
        $found = 0;
        foreach (self::blocks('php', self::DOCS) as $block) {
            self::assertStringContainsString(self::flat($block), $tests);
            ++$found;
        }
        self::assertGreaterThan(4, $found);
    }

    public function testPhpIsPhp(): void
    {
        foreach (self::blocks('php', self::ALL) as $block) {
            $code = str_starts_with($block, '<?php') ? $block : '<?php '.$block;
            // Some show a part of a class.
            self::assertTrue(self::isPhp($code) || self::isPhp("<?php final class Of {\n$block}"), $block);
        }
    }

    public function testConfigurationsAreValid(): void
    {
        $found = 0;
        foreach (self::blocks('yaml', self::ALL) as $block) {
            foreach (self::configurations((array) Yaml::parse($block)) as $config) {
                (new Processor())->processConfiguration(new Configuration(), [$config]);
                ++$found;
            }
        }
        self::assertGreaterThan(4, $found);
    }

    public function testTransportsAreValid(): void
    {
        $found = 0;
        foreach (self::blocks('yaml', self::ALL) as $block) {
            foreach (Yaml::parse($block)['framework']['messenger']['transports'] ?? [] as $name => $dsn) {
                if (FervoTransportFactory::isFor($dsn)) {
                    FervoTransportFactory::read($dsn, [], $name);
                    ++$found;
                }
            }
        }
        self::assertGreaterThan(0, $found);
    }

    public function testCommandsAreThere(): void
    {
        $kernel = new TestKernel(Folder::create(), ['send' => 'immediately']);
        $application = new Application($kernel);
        $found = 0;
        foreach (self::ALL as $file) {
            preg_match_all('~bin/console ((?:debug:)?fervo[a-z:-]*)~', self::read($file), $match);
            foreach ($match[1] as $name) {
                // With `send: transactional` only.
                self::assertTrue('fervo:relay' === $name || $application->has($name), $name);
                ++$found;
            }
        }
        $kernel->shutdown();
        self::assertGreaterThan(4, $found);
    }

    public function testLinksWithinTheBundleLeadSomewhere(): void
    {
        foreach (self::ALL as $file) {
            preg_match_all('~\]\(([^)#:]*)(#[^)]*)?\)~', self::read($file), $match, \PREG_SET_ORDER);
            foreach ($match as $link) {
                $target = '' === $link[1] ? $file : \dirname($file).'/'.$link[1];
                if (!str_starts_with($link[1], '../') || str_contains(\dirname($file), 'docs')) {
                    self::assertFileExists(self::FOLDER.'/'.$target, "$file: $link[0]");
                }
                if (isset($link[2]) && is_file(self::FOLDER.'/'.$target)) {
                    self::assertContains($link[2], self::anchors($target), "$file: $link[0]");
                }
            }
        }
    }

    /**
     * @param list<string> $files
     *
     * @return iterable<string>
     */
    private static function blocks(string $language, array $files): iterable
    {
        foreach ($files as $file) {
            preg_match_all('~^```'.$language.'\n(.*?)^```$~ms', self::read($file), $match);
            yield from $match[1];
        }
    }

    private static function read(string $file): string
    {
        return (string) file_get_contents(self::FOLDER.'/'.$file);
    }

    /** Without the indentation, which differs within a class. */
    private static function flat(string $code): string
    {
        return implode("\n", array_filter(array_map('trim', explode("\n", $code)), static fn (string $line): bool => '' !== $line));
    }

    private static function isPhp(string $code): bool
    {
        try {
            return [] !== \PhpToken::tokenize($code, \TOKEN_PARSE);
        } catch (\ParseError) {
            return false;
        }
    }

    /**
     * @param array<mixed> $yaml
     *
     * @return iterable<array<mixed>> those of the bundle, also for an environment
     */
    private static function configurations(array $yaml): iterable
    {
        foreach ($yaml as $key => $value) {
            if ('fervo_deferred_event' === $key) {
                yield (array) $value;
            } elseif (str_starts_with((string) $key, 'when@')) {
                yield from self::configurations((array) $value);
            }
        }
    }

    /** @return list<string> as web sites make them of headings */
    private static function anchors(string $file): array
    {
        preg_match_all('/^#+ (.*)$/m', self::read($file), $match);

        return array_map(static fn (string $heading): string => '#'.str_replace(' ', '-', (string) preg_replace('/[^a-z0-9 -]/', '', strtolower($heading))), $match[1]);
    }
}

<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests;

use Fervo\DeferredEventBundle\FervoDeferredEventBundle;
use Fervo\DeferredEventBundle\Test\DeferredEventAssertions;
use Fervo\DeferredEventBundle\Tests\Fixtures\TestKernel;
use Fervo\DeferredEventBundle\Tests\Support\Folder;
use PHPUnit\Framework\TestCase;
use Symfony\Bundle\FrameworkBundle\Console\Application;
use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;
use Symfony\Component\HttpKernel\Bundle\BundleInterface;
use Symfony\Component\Yaml\Yaml;

/** What Composer installs, and what Flex does then. */
final class PackageTest extends TestCase
{
    private const BUNDLE = __DIR__.'/..';
    private const RECIPE = self::BUNDLE.'/recipe/fervo/deferred-event-bundle/1.0';

    public function testTheArchiveHasWhatAnApplicationNeedsAndNothingElse(): void
    {
        $copy = Folder::create();
        $git = 'git -C '.escapeshellarg($copy).' ';
        exec('tar -C '.escapeshellarg(self::BUNDLE).' --exclude=./vendor --exclude=./composer.lock --exclude=./.cache -c . | tar -C '.escapeshellarg($copy).' -x'
            ." && {$git}init -q && {$git}add . && {$git}archive --worktree-attributes \$({$git}write-tree) | tar -t", $files, $code);
        self::assertSame(0, $code);
        $top = array_values(array_unique(array_map(static fn (string $file): string => explode('/', $file)[0], $files)));
        sort($top);

        self::assertSame(['CHANGELOG.md', 'LICENSE', 'README.md', 'UPGRADE.md', 'bin', 'composer.json', 'config', 'docs', 'runner', 'src', 'templates'], $top);
    }

    public function testTheRecipesManifestIsRight(): void
    {
        $manifest = json_decode((string) file_get_contents(self::RECIPE.'/manifest.json'), true, 512, \JSON_THROW_ON_ERROR);

        self::assertSame([], array_diff(array_keys($manifest), ['bundles', 'copy-from-recipe', 'env']));
        self::assertSame([FervoDeferredEventBundle::class => ['all']], $manifest['bundles']);
        self::assertTrue(is_subclass_of(FervoDeferredEventBundle::class, BundleInterface::class));
        foreach ($manifest['copy-from-recipe'] as $from => $to) {
            self::assertDirectoryExists(self::RECIPE.'/'.$from);
            self::assertSame('%CONFIG_DIR%/', $to);
        }
        preg_match_all('/%env\((\w+)\)%/', $this->recipe(), $match);
        $variables = array_values(array_filter(array_keys($manifest['env']), static fn (string $name): bool => !str_starts_with($name, '#')));
        self::assertSame($variables, array_values(array_unique($match[1])));
        foreach ($variables as $name) {
            // These are the worker's: in a job, they are about the job.
            self::assertStringStartsNotWith('FERVO_', $name);
            self::assertStringContainsString("%env($name)%", (string) file_get_contents(self::BUNDLE.'/README.md'));
        }
        // The version that composer.json names.
        $composer = json_decode((string) file_get_contents(self::BUNDLE.'/composer.json'), true, 512, \JSON_THROW_ON_ERROR);
        self::assertSame(basename(self::RECIPE).'.x-dev', $composer['extra']['branch-alias']['dev-main']);
    }

    public function testTheRecipesConfigurationIsThatOfAnApplicationThatBoots(): void
    {
        $manifest = json_decode((string) file_get_contents(self::RECIPE.'/manifest.json'), true, 512, \JSON_THROW_ON_ERROR);
        $_SERVER['DEFERRED_EVENTS_QUEUE'] = $manifest['env']['DEFERRED_EVENTS_QUEUE'];
        $yaml = (array) Yaml::parse($this->recipe());
        try {
            self::assertStringContainsString('sqlite, /var/lib/fervo-worker/queue.sqlite', $this->debug($yaml['fervo_deferred_event']));
            self::assertStringContainsString('in-memory', $this->debug($yaml['fervo_deferred_event'], $yaml['when@test']['fervo_deferred_event']));
        } finally {
            unset($_SERVER['DEFERRED_EVENTS_QUEUE']);
        }
        self::assertSame(['fervo_deferred_event', 'when@test'], array_keys($yaml));
        self::assertTrue(trait_exists(DeferredEventAssertions::class));
    }

    public function testTheRecipesLastWordsNameCommandsThatAreThere(): void
    {
        $text = (string) file_get_contents(self::RECIPE.'/post-install.txt');
        preg_match_all('/bin\/console ([a-z:-]+)/', $text, $match);
        $kernel = new TestKernel(Folder::create(), []);
        $application = new Application($kernel);
        foreach ($match[1] as $name) {
            self::assertTrue($application->has($name), $name);
        }
        $kernel->shutdown();

        self::assertCount(2, $match[1]);
        self::assertSame(preg_match_all('/<[a-z]+[^\/>]*>/', $text), preg_match_all('/<\/[a-z]*>/', $text));
    }

    private function recipe(): string
    {
        return (string) file_get_contents(self::RECIPE.'/config/packages/fervo_deferred_event.yaml');
    }

    /**
     * @param array<string, mixed>      $config
     * @param array<string, mixed>|null $ofEnvironment laid over it
     */
    private function debug(array $config, ?array $ofEnvironment = null): string
    {
        $kernel = new TestKernel(Folder::create(), $config, static function (ContainerConfigurator $container) use ($ofEnvironment): void {
            if (null !== $ofEnvironment) {
                $container->extension('fervo_deferred_event', $ofEnvironment);
            }
        });
        $application = new Application($kernel);
        $application->setAutoExit(false);
        $tester = new \Symfony\Component\Console\Tester\ApplicationTester($application);
        $tester->run(['command' => 'debug:fervo'], ['decorated' => false]);
        $kernel->shutdown();

        return $tester->getDisplay();
    }
}

// Package volumes provisions the cluster's persistent volumes: a directory per
// claim, made once the scheduler has chosen a node, removed when it is released.
//
// The volumes are of the kind "local", not hostPath, because the kubelet applies
// a pod's fsGroup only to those. Sizes are recorded, never enforced.
package volumes

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	// provisionerName is what a StorageClass names us by.
	provisionerName = "meridian.local/volumes"

	provisionedBy = "pv.kubernetes.io/provisioned-by"
	selectedNode  = "volume.kubernetes.io/selected-node"
)

// Run provisions and removes until SIGTERM or SIGINT.
func Run(args []string) error {
	flags := flag.NewFlagSet("volumes", flag.ContinueOnError)
	kubeconfig := flags.String("kubeconfig", "", "kubeconfig")
	root := flags.String("root", "", "directory that holds the volumes")
	interval := flags.Duration("interval", 500*time.Millisecond, "time between two looks at the claims")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if !filepath.IsAbs(*root) {
		return fmt.Errorf("-root must be absolute, not %q", *root)
	}
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	p := provisioner{client, filepath.Clean(*root)}
	for ctx.Err() == nil {
		if err := errors.Join(p.provision(ctx), p.remove(ctx)); err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "volumes:", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(*interval):
		}
	}
	return nil
}

type provisioner struct {
	client kubernetes.Interface
	root   string
}

// provision makes a volume for every claim of ours whose pod has a node.
func (p provisioner) provision(ctx context.Context) error {
	classes, err := p.classes(ctx)
	if err != nil {
		return err
	}
	claims, err := p.client.CoreV1().PersistentVolumeClaims("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	var failed []error
	for i := range claims.Items {
		claim := &claims.Items[i]
		class := classes[className(claim)]
		node := claim.Annotations[selectedNode]
		if class == nil || node == "" || claim.Status.Phase != corev1.ClaimPending || claim.DeletionTimestamp != nil {
			continue
		}
		if err := p.create(ctx, claim, class, node); err != nil {
			failed = append(failed, fmt.Errorf("claim %s/%s: %w", claim.Namespace, claim.Name, err))
		}
	}
	return errors.Join(failed...)
}

// classes are the storage classes that name us. They must wait for the first
// consumer, for a volume is on one node only.
func (p provisioner) classes(ctx context.Context) (map[string]*storagev1.StorageClass, error) {
	list, err := p.client.StorageV1().StorageClasses().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	out := map[string]*storagev1.StorageClass{}
	for i := range list.Items {
		if list.Items[i].Provisioner == provisionerName {
			out[list.Items[i].Name] = &list.Items[i]
		}
	}
	return out, nil
}

func className(claim *corev1.PersistentVolumeClaim) string {
	if claim.Spec.StorageClassName == nil {
		return ""
	}
	return *claim.Spec.StorageClassName
}

// create makes the directory before the object: a volume that is announced exists.
func (p provisioner) create(ctx context.Context, claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, node string) error {
	name := "pvc-" + string(claim.UID)
	dir := filepath.Join(p.root, name)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	// Whoever the pod runs as may write; MkdirAll is subject to the umask.
	if err := os.Chmod(dir, 0o777); err != nil {
		return err
	}
	_, err := p.client.CoreV1().PersistentVolumes().Create(ctx, volume(name, dir, claim, class, node), metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

func volume(name, dir string, claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, node string) *corev1.PersistentVolume {
	onNode := corev1.NodeSelectorRequirement{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{provisionedBy: provisionerName}},
		Spec: corev1.PersistentVolumeSpec{
			AccessModes:                   claim.Spec.AccessModes,
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: claim.Spec.Resources.Requests[corev1.ResourceStorage]},
			PersistentVolumeReclaimPolicy: *class.ReclaimPolicy,
			StorageClassName:              class.Name,
			VolumeMode:                    claim.Spec.VolumeMode,
			ClaimRef: &corev1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
			PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: dir}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{
				{MatchExpressions: []corev1.NodeSelectorRequirement{onNode}},
			}}},
		},
	}
}

// remove deletes the volumes whose claims are gone, data first: an object that
// stays behind is seen and tried again, a directory would not be.
func (p provisioner) remove(ctx context.Context) error {
	list, err := p.client.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	var failed []error
	for i := range list.Items {
		v := &list.Items[i]
		if !p.removable(v) {
			continue
		}
		err := os.RemoveAll(v.Spec.Local.Path)
		if err == nil {
			err = p.client.CoreV1().PersistentVolumes().Delete(ctx, v.Name, metav1.DeleteOptions{})
		}
		if err != nil && !apierrors.IsNotFound(err) {
			failed = append(failed, fmt.Errorf("volume %s: %w", v.Name, err))
		}
	}
	return errors.Join(failed...)
}

// removable also checks the path: the object could have been edited, and we are root.
func (p provisioner) removable(v *corev1.PersistentVolume) bool {
	return v.Annotations[provisionedBy] == provisionerName &&
		v.Status.Phase == corev1.VolumeReleased &&
		v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete &&
		v.Spec.Local != nil && filepath.Dir(filepath.Clean(v.Spec.Local.Path)) == p.root
}
